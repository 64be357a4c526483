"""Protocols: evaluation faces with their pairs."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.components.base import Component
from harness.components.pairs import PairSet, TemplateSet
from harness.components.source import Source

if TYPE_CHECKING:
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


class Protocol(Component):
    """Pairs over faces: those of a source of the suite (then it needs a ``source``), or faces of its own.

    Class attributes:
        gives: ``pairs`` of faces, a :class:`PairSet`, or pairs of ``templates``, a :class:`TemplateSet`; evaluators
            that need the one cannot take the other.
    """

    gives: ClassVar[Literal["pairs", "templates"]] = "pairs"

    @abstractmethod
    def pairs(self, faces: FaceSet, run: Run) -> PairSet | TemplateSet:
        """The pairs over the rows of ``faces``, aligned to the suite's crop, or over templates of them."""

    def size(self) -> tuple[int, int] | None:
        """How many pairs of how many identities (0: not known); None if that is not known before faces are made.

        ``harness plan`` says with it which differences a suite can detect.
        """
        return None

    def definition(self) -> dict[str, Any] | None:
        """What defines images that are drawn instead of read, such as renderer version, seed and size.

        Rounding makes drawn pixels differ by machine, so their digest cannot name the protocol. None: the pixels do.
        """
        return None


class FaceProtocol(Protocol, Source):
    """A protocol with faces of its own, planned and sampled as a source's.

    Each face brings its landmarks, by which it is warped to the suite's crop.
    """
