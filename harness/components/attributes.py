"""Attribute predictors: what is known of a real face beside who it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harness.arrays import Floats
from harness.components.base import Component
from harness.components.images import ImageBatch

if TYPE_CHECKING:
    from harness.components.run import Run


class AttributePredictor(Component):
    """Estimates attributes of real faces, for generators that are conditioned on them and for sources that lack them.

    Class attributes:
        gives: names of the attributes: ``yaw``, ``pitch``, ``roll`` in degrees (positive: the nose to the image's
            right, the face up, the head counter-clockwise in the image), ``age`` in years, or others.
    """

    gives: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def predict(self, batch: ImageBatch, run: Run) -> Mapping[str, Floats]:
        """Every attribute that it ``gives`` of every image: float32 [B] each, NaN where it cannot tell.

        Args:
            batch: raw pictures of one size, with landmarks where the source has them.
        """
