"""The training loop of ``margin``, apart from its settings so that those can be read without torch.

Letters: N images of the dataset, B images of a batch, S side of the crop in pixels, D embedding width, C classes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.builtin.margin_settings import MarginSettings
from harness.errors import StageError, Stopped
from harness.training.arrays import decoded

if TYPE_CHECKING:
    from harness.components.base import Crop
    from harness.components.recognizer import Recognizer, TrainableRecognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

LOG_EVERY_STEPS = 10
HEAD_STD = 0.01  # of the class matrix at the start, as in the ArcFace reference


def cosface_loss(features: Tensor, head: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """CosFace, arXiv 1801.09414, equation 4: cross entropy of s (cos - m at the true class).

    Args:
        features: [B, D], any norm.
        head: [C, D], one row per class, any norm.
        labels: [B], classes from 0.
        scale: s.
        margin: m.
    """
    cosines = (F.normalize(features) @ F.normalize(head).T).clamp(-1, 1)  # [B, C]
    return F.cross_entropy(scale * (cosines - margin * F.one_hot(labels, len(head))), labels)


def learning_rate(step: int, steps: int, settings: MarginSettings) -> float:
    """Learning rate of one step (from 0) of ``steps``: linear warm-up, then decay towards 0."""
    warm = settings.warmup * steps
    if step < warm:
        return settings.lr * (step + 1) / (warm + 1)
    left = (steps - step) / max(1.0, steps - warm)
    shape = {"cosine": 0.5 - 0.5 * math.cos(math.pi * left), "linear": left, "poly": left**2}
    return settings.lr * shape[settings.schedule]


def augment(x: Tensor, settings: MarginSettings, generator: torch.Generator) -> Tensor:
    """Flip images [B, 3, S, S] in [-1, 1] and scale their colors; draws come from ``generator`` (CPU)."""
    count = len(x)
    flips = torch.rand(count, generator=generator) < settings.flip
    gains = 1 + settings.color_jitter * (2 * torch.rand(count, 4, generator=generator) - 1)
    gain = (gains[:, :3] * gains[:, 3:])[:, :, None, None].to(x.device)  # each color, times the whole image
    x = torch.where(flips.to(x.device)[:, None, None, None], x.flip(3), x)
    return ((x + 1) * gain - 1).clamp(-1, 1)


class Loop:
    """One training.

    Args:
        settings: the recipe.
        dataset: its kept faces are trained on.
        run: seed, device, progress and checkpoints.
        backbone: makes the recognizer that is trained, with random weights, for a crop.
    """

    def __init__(
        self, settings: MarginSettings, dataset: FaceSet, run: Run, backbone: Callable[[Crop], TrainableRecognizer]
    ) -> None:
        self.settings, self.dataset, self.run = settings, dataset, run
        self.labels = torch.from_numpy(dataset.labels)
        classes = int(self.labels.max()) + 1 if len(dataset) else 0
        if classes < 2:
            raise StageError(f"margin trainer: {len(dataset)} images of {classes} identities; expected 2 or more")
        self.array = decoded(dataset, run)
        self.batch = min(settings.batch_size, len(dataset))
        self.steps_per_epoch = len(dataset) // self.batch
        self.steps = settings.epochs * self.steps_per_epoch
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed("init"))
            self.recognizer = backbone(dataset.crop)
            self.head = nn.Parameter(torch.randn(classes, self.recognizer.width) * HEAD_STD)
        self.network = self.recognizer.network
        self.network.to(run.device)
        self.head.data = self.head.data.to(run.device)
        self.weights = list(self.network.parameters())
        self.optimizer = torch.optim.SGD(
            [*self.weights, self.head], lr=0.0, momentum=settings.momentum, weight_decay=settings.weight_decay
        )

    def train(self) -> Recognizer:
        """Train to the end, from the checkpoint where there is one."""
        first = self._restore()
        progress = self.run.progress(self.steps * self.batch, "images")
        if first:
            progress.advance(first * self.batch)
        for step, chosen in self._batches(first):
            loss = self._step(step, chosen)
            if not math.isfinite(loss):
                raise StageError(
                    f"margin trainer: the loss is {loss} at step {step} of {self.steps}; expected a finite number: "
                    f"lower lr (now {self.settings.lr}) or scale (now {self.settings.scale})"
                )
            if step % LOG_EVERY_STEPS == 0 or step == self.steps - 1:
                self.run.log("loss", loss, step)
            progress.advance(self.batch)
            if self.run.stop_requested:
                self._save(step + 1)
                raise Stopped(f"margin trainer stopped after step {step + 1} of {self.steps}")
            if (step + 1) % self.steps_per_epoch == 0:
                self._save(step + 1)
        return self._finish()

    def _step(self, step: int, chosen: Tensor) -> float:
        settings, device = self.settings, self.run.device
        generator = torch.Generator().manual_seed(self._seed(f"augment/{step}"))
        x = augment(self.array.batch(chosen).to(device).float() / 127.5 - 1, settings, generator)  # [B, 3, S, S]
        self.network.train()
        with self._dropout(step), self._precision():
            features = self.recognizer.features(x)  # [B, D]
        loss = cosface_loss(
            features.float(), self.head, self.labels[chosen].to(device), settings.scale, settings.margin
        )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.steps, settings)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weights, settings.clip_norm)
        nn.utils.clip_grad_norm_([self.head], settings.clip_norm)
        self.optimizer.step()
        return loss.item()

    @contextmanager
    def _dropout(self, step: int) -> Iterator[None]:
        """Give the network's own randomness, which is torch's global one, the step's seed."""
        device = torch.device(self.run.device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self._seed(f"dropout/{step}"))
            yield

    def _precision(self) -> AbstractContextManager[Any]:
        kind = torch.device(self.run.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.settings.dtype == "bfloat16")

    def _batches(self, first: int) -> Iterator[tuple[int, Tensor]]:
        """Steps from ``first`` on, each with the positions of its images."""
        for epoch in range(first // self.steps_per_epoch, self.settings.epochs):
            generator = torch.Generator().manual_seed(self._seed(f"order/{epoch}"))
            order = torch.randperm(len(self.dataset), generator=generator)
            for index in range(self.steps_per_epoch):
                step = epoch * self.steps_per_epoch + index
                if step >= first:
                    yield step, order[index * self.batch : (index + 1) * self.batch]

    def _seed(self, purpose: str) -> int:
        digest = hashlib.blake2b(f"{self.run.seed}/margin/{purpose}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1

    def _save(self, step: int) -> None:
        momenta = [self.optimizer.state[weight]["momentum_buffer"] for weight in [*self.weights, self.head]]
        state = {"step": step, "network": dict(self.network.state_dict()), "head": self.head.data, "momenta": momenta}
        self.run.checkpoint.save(state)

    def _restore(self) -> int:
        """Take the checkpoint, if there is one; returns the first step that is still to do."""
        state = self.run.checkpoint.load()
        if state is None:
            return 0
        self.network.load_state_dict(state["network"])
        self.head.data.copy_(state["head"])
        for weight, momentum in zip([*self.weights, self.head], state["momenta"], strict=True):
            self.optimizer.state[weight]["momentum_buffer"] = momentum.to(self.run.device)
        return int(state["step"])

    def _finish(self) -> Recognizer:
        state = {name: value.detach().clone() for name, value in self.recognizer.state().items()}
        if self.settings.save == "float16":
            state = {name: value.half().float() for name, value in state.items()}
        self.recognizer.load(state, self.run.device)
        return self.recognizer
