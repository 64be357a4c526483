"""Protocols: evaluation faces with their pairs."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from harness.components.data import PairSet, TemplateSet
from harness.components.source import Source

if TYPE_CHECKING:
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


class Protocol(Source):
    """A verification protocol: faces with landmarks (a source of its own, or taken from one) and pairs.

    The faces are warped to the suite's crop by their landmarks. Where they come from a source of the suite
    (``uses_source``), that source's aligned faces are used and only ``pairs`` is called.

    Class attributes:
        uses_source: the faces are those of a source of the suite.
        of_templates: the pairs are of templates, a :class:`TemplateSet`, and evaluators that need ``templates`` take
            them; else of faces, a :class:`PairSet`, for evaluators that need ``protocols``.
    """

    uses_source: ClassVar[bool] = False
    of_templates: ClassVar[bool] = False

    @abstractmethod
    def pairs(self, faces: FaceSet, run: Run) -> PairSet | TemplateSet:
        """The pairs over the rows of ``faces``, or over templates of them."""

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
