"""The toy generator: colored ellipses with eyes and a mouth. It shows the interface and feeds the fastest tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from harness import noise
from harness.arrays import Doubles, Images
from harness.components import Generator, Given, ImageBatch, Run, SamplePlan, Settings
from harness.components.base import APACHE


class ToySettings(Settings):
    """Settings of the toy generator."""

    size_px: int = Field(32, ge=16, le=256, description="side of the square image in pixels")
    spread: float = Field(0.05, ge=0, le=1, description="how much the images of one identity differ, 0 to 1")


class Toy(Generator):
    """Draws faces from two handfuls of random numbers: one per identity, one per image."""

    Settings = ToySettings
    license = APACHE

    def sample(self, plan: SamplePlan, given: Given, run: Run) -> Iterator[ImageBatch]:
        """Draw every planned image by itself."""
        for batch in plan.batches(64):
            who = noise.uniform(run.seed, batch.identities.tolist(), [0] * len(batch), 10, "toy-identity")
            how = noise.uniform(run.seed, batch.identities.tolist(), batch.samples.tolist(), 10, "toy-sample")
            mixed = (1 - self.settings.spread) * who + self.settings.spread * how
            images = np.stack([_draw(row, self.settings.size_px) for row in mixed])
            yield ImageBatch(batch.identities, batch.samples, images)


def _draw(values: Doubles, size: int) -> Images:
    """One face from ten numbers in (0, 1); uint8 [size, size, 3]."""
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size * 2 - 1
    skin, back = 0.45 + 0.5 * values[0:3], 0.3 * values[3:6]
    image = np.broadcast_to(back, (size, size, 3)).copy()
    width, eye, mouth = 0.5 + 0.25 * values[6], 0.2 + 0.15 * values[7], 0.15 + 0.25 * values[8]
    image[(x / width) ** 2 + (y / 0.85) ** 2 < 1] = skin
    image[((np.abs(x) - eye) / 0.1) ** 2 + ((y + 0.15) / 0.07) ** 2 < 1] = 0.05
    image[(x / mouth) ** 2 + ((y - 0.45) / (0.05 + 0.06 * values[9])) ** 2 < 1] = (0.5, 0.1, 0.1)
    image[(np.abs(x) < 0.05) & (y > -0.1) & (y < 0.2)] *= 0.75
    return (image * 255).round().astype(np.uint8)
