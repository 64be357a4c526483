"""The heads that ship with the core, as components over the functions of ``harness.training.heads``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harness.components.base import APACHE, Settings
from harness.components.head import Head

if TYPE_CHECKING:
    from torch import Generator, Tensor

START_MEAN, START_STD = 20.0, 100.0  # of the norms that AdaFace remembers. Source: CVLFace


class CosFace(Head):
    """s (cos theta - m), arXiv 1801.09414."""

    license = APACHE

    def logits(
        self, cosines: Tensor, norms: Tensor, labels: Tensor, scale: float, margin: float, generator: Generator
    ) -> Tensor:
        """Logits [B, C]."""
        from harness.training.heads import cosface

        return cosface(cosines, labels, scale, margin)


class ArcFace(Head):
    """s cos(theta + m), arXiv 1801.07698."""

    license = APACHE

    def logits(
        self, cosines: Tensor, norms: Tensor, labels: Tensor, scale: float, margin: float, generator: Generator
    ) -> Tensor:
        """Logits [B, C]."""
        from harness.training.heads import arcface

        return arcface(cosines, labels, scale, margin)


class CombinedSettings(Settings):
    """Settings of ``combined``; m2 is the recipe's ``margin``."""

    m1: float = Field(1.0, gt=0, description="factor of the angle; 1: none")
    m3: float = Field(0.0, ge=0, lt=2, description="subtracted from the cosine")


class Combined(Head):
    """s (cos(m1 theta + m) - m3), arXiv 1801.07698, equation 4."""

    Settings: ClassVar[type[Settings]] = CombinedSettings
    license = APACHE

    def logits(
        self, cosines: Tensor, norms: Tensor, labels: Tensor, scale: float, margin: float, generator: Generator
    ) -> Tensor:
        """Logits [B, C]."""
        from harness.training.heads import combined

        return combined(cosines, labels, scale, self.settings.m1, margin, self.settings.m3)


class AdaFaceSettings(Settings):
    """Settings of ``adaface``."""

    h: float = Field(0.333, gt=0, description="share of the spread of norms that moves the margin; CVLFace: 0.333")
    t_alpha: float = Field(0.01, gt=0, le=1, description="weight of a batch in the mean and std of norms; CVLFace")


class AdaFace(Head):
    """A margin by the feature's norm, arXiv 2204.00964.

    The norms' mean and (sample) standard deviation are exponential averages over batches. Ours: the batch counts before
    its own margins are made.
    """

    Settings: ClassVar[type[Settings]] = AdaFaceSettings
    license = APACHE

    def logits(
        self, cosines: Tensor, norms: Tensor, labels: Tensor, scale: float, margin: float, generator: Generator
    ) -> Tensor:
        """Logits [B, C]."""
        from harness.training.heads import NORM_RANGE, adaface

        seen, weight = norms.detach().clamp(*NORM_RANGE), self.settings.t_alpha
        for name, start, now in (("mean", START_MEAN, seen.mean()), ("std", START_STD, seen.std())):
            self.memory[name] = (1 - weight) * self.memory.get(name, now.new_tensor(start)).to(now) + weight * now
        mean, std = self.memory["mean"], self.memory["std"]
        return adaface(cosines, norms, labels, scale, margin, self.settings.h, mean, std)


class ElasticSettings(Settings):
    """Settings of ``elasticface-arc`` and ``elasticface-cos``."""

    std: float = Field(0.05, gt=0, description="of the normal law that each image's margin is drawn from; ours: 0.05")


class ElasticArc(Head):
    """s cos(theta + m_i), each image's margin drawn anew at every step, arXiv 2109.09416."""

    Settings: ClassVar[type[Settings]] = ElasticSettings
    license = APACHE

    def logits(
        self, cosines: Tensor, norms: Tensor, labels: Tensor, scale: float, margin: float, generator: Generator
    ) -> Tensor:
        """Logits [B, C]."""
        from harness.training.heads import elastic_arc

        return elastic_arc(cosines, labels, scale, _margins(labels, margin, self.settings.std, generator))


class ElasticCos(Head):
    """s (cos theta - m_i), each image's margin drawn anew at every step, arXiv 2109.09416."""

    Settings: ClassVar[type[Settings]] = ElasticSettings
    license = APACHE

    def logits(
        self, cosines: Tensor, norms: Tensor, labels: Tensor, scale: float, margin: float, generator: Generator
    ) -> Tensor:
        """Logits [B, C]."""
        from harness.training.heads import elastic_cos

        return elastic_cos(cosines, labels, scale, _margins(labels, margin, self.settings.std, generator))


def _margins(labels: Tensor, mean: float, std: float, generator: Generator) -> Tensor:
    import torch

    return (mean + std * torch.randn(len(labels), generator=generator)).to(labels.device)
