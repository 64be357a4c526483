"""What every component has: settings with a schema, a license, and the code its results depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from harness.components.roles import Role

CommercialUse = Literal["yes", "no", "unknown"]
ColorOrder = Literal["rgb", "bgr"]
RAW = "raw"  # the view of a picture that is no crop


class Settings(BaseModel):
    """Base of every settings schema: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NoSettings(Settings):
    """The schema of a component that has nothing to set."""


@dataclass(frozen=True)
class License:
    """Under which terms a component, its data or its weights may be used."""

    name: str
    url: str = ""
    commercial_use: CommercialUse = "unknown"


APACHE = License("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", "yes")


@dataclass(frozen=True)
class Crop:
    """The image contract between components: which part of the picture, how large, in which color order.

    ``raw`` is the whole picture, plainly resized; every other view is named by a template of five landmarks
    (:class:`harness.faces.crops.CropTemplate`), such as ``arcface``. Pixels are uint8, height x width x color. Stored
    pictures are ``rgb``; a recognizer that takes ``bgr`` gets its colors in that order.
    """

    view: str
    size_px: int
    color: ColorOrder = "rgb"


class Component:
    """Base of sources, recognizers, predictors, context laws, generators, aligners, trainers, protocols, evaluators.

    Class attributes:
        Settings: pydantic schema; every field says its unit, source and range.
        license: the terms; a row shows the strictest of all it uses.
        needs: the roles that its method asks for (:mod:`harness.components.roles`); a :class:`Given` holds them.
        accepts: for the roles ``model`` and ``autoencoder``, the kinds of Model that it can use.
        code: modules or packages whose source the result depends on, so that an edit never meets a stale result. Left
            empty, they follow from the imports of its module (:func:`harness.code.code_of`); set it only where that is
            too wide.
    """

    Settings: ClassVar[type[BaseModel]] = NoSettings
    license: ClassVar[License] = License("unknown")
    needs: ClassVar[frozenset[Role]] = frozenset()
    accepts: ClassVar[Mapping[Role, frozenset[str]]] = {}
    code: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Any = None) -> None:
        self.settings: Any = self.Settings() if settings is None else settings

    def identity(self) -> dict[str, Any]:
        """What of the settings makes the result what it is, for the stage key.

        Components that read files replace the path by a digest of what the files hold.
        """
        return self.settings.model_dump(mode="json")  # type: ignore[no-any-return]

    @classmethod
    def schema(cls, kind: str) -> type[BaseModel]:
        """The settings schema of a stage kind: a generator is fitted with other settings than it samples with."""
        return getattr(cls, "FitSettings", cls.Settings) if kind == "fit" else cls.Settings

    def uses(self) -> tuple[type[Component], ...]:
        """Other components that the settings name, such as a trainer's backbone; their code counts as its own."""
        return ()
