"""The training loop of ``margin``.

Everything random is a function of (seed, epoch or step): initialization, data order, augmentation, the head's draws and
dropout. A training that was stopped at any step therefore goes on from its checkpoint to the same weights.

Letters: N images of the dataset, B images of a batch, S side of the crop in pixels, D embedding width, C classes.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import tee
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.arrays import Ints
from harness.errors import StageError, Stopped
from harness.ranks import Ranks
from harness.training import selection
from harness.training.augment import named
from harness.training.chance import ChanceCheck
from harness.training.schedules import best_epoch, is_over, learning_rate
from harness.training.settings import GAINS, MarginSettings
from harness.training.synchronized import synchronize

if TYPE_CHECKING:
    from harness.components.base import Crop
    from harness.components.head import Head
    from harness.components.recognizer import Recognizer, TrainableRecognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet
    from harness.training.arrays import FaceArray

LOG_EVERY_STEPS = 10
CHECKPOINT_S = 600.0  # between checkpoints; one is kept at every end of an epoch too
HEAD_STD = 0.01  # of the class matrix at the start, as in the ArcFace reference


def flip_and_scale(x: Tensor, settings: MarginSettings, generator: torch.Generator, of: slice, count: int) -> Tensor:
    """Flip images [B, 3, S, S] in [-1, 1] and scale their colors.

    Args:
        generator: draws, on the CPU, for all ``count`` images of the step.
        of: which of them these images are.
    """
    flips = (torch.rand(count, generator=generator) < settings.flip)[of]
    gains = 1 + settings.color_jitter * (2 * torch.rand(count, 4, generator=generator)[of] - 1)
    gain = (gains[:, :3] * gains[:, 3:])[:, :, None, None].to(x.device)  # each color, times the whole image
    x = torch.where(flips.to(x.device)[:, None, None, None], x.flip(3), x)
    return ((x + 1) * gain - 1).clamp(-1, 1)


@dataclass(frozen=True)
class Batch:
    """One step's images before augmentation: which, their pixels uint8 [B, 3, S, S] on the device, keys int64 [B]."""

    step: int
    which: Ints
    images: Tensor
    keys: Tensor


@dataclass
class Epochs:
    """What was measured between epochs: the mean accuracy of each, and the best one's weights."""

    accuracies: list[float] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def add(self, accuracy: float, state: Mapping[str, Tensor]) -> None:
        """Take one epoch's accuracy, and its weights if it is the best so far."""
        self.accuracies.append(accuracy)
        if best_epoch(self.accuracies) == len(self.accuracies) - 1:
            self.best = {name: value.detach().cpu().clone() for name, value in state.items()}


class Loop:
    """One training.

    Args:
        settings: the recipe.
        dataset: its kept faces are trained on.
        pixels: the same faces, decoded.
        run: seed, device, progress and checkpoints.
        backbone: makes the recognizer that is trained, with random weights, for a crop.
        head: turns cosines into logits.
        benchmarks: what chooses the epoch, for ``select: benchmarks``.

    Raises:
        StageError: fewer than two classes, too many unreadable images, or too few identities to keep some out.
    """

    def __init__(
        self,
        settings: MarginSettings,
        dataset: FaceSet,
        pixels: FaceArray,
        run: Run,
        backbone: Callable[[Crop], TrainableRecognizer],
        head: Head,
        benchmarks: selection.Sets | None = None,
    ) -> None:
        self.settings, self.pixels, self.run, self.margin = settings, pixels, run, head
        self.device = torch.device(run.device)
        self.ranks = Ranks(settings.devices, self.device)
        self.sets: selection.Sets = benchmarks or {}
        self.used = self._used(dataset)
        labels = dataset.labels[self.used]
        self.classes = len(np.unique(labels))
        if self.classes < 2:
            raise StageError(f"margin trainer: {len(labels)} images of {self.classes} identities; expected 2 or more")
        self.label_of = torch.from_numpy(np.searchsorted(np.unique(labels), dataset.labels))
        self.batch = min(settings.batch_size, len(labels) // settings.devices * settings.devices)
        self.steps_per_epoch = len(labels) // self.batch
        self.steps = settings.epochs * self.steps_per_epoch
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed("init"))
            self.recognizer = backbone(dataset.crop)
            self.head = nn.Parameter(torch.randn(self.classes, self.recognizer.width) * HEAD_STD)
        self.network = self.recognizer.network
        self.network.to(run.device)
        self.recognizer.device = run.device
        self.head.data = self.head.data.to(run.device)
        if settings.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        synchronize(self.network, self.ranks)
        if settings.compile:
            self.network.compile()
        self.weights = list(self.network.parameters())
        self.optimizer = torch.optim.SGD(
            [*self.weights, self.head], lr=0.0, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        self.augment = None if settings.augmentation == GAINS else named(settings.augmentation)
        self.epochs = Epochs()
        self.chance = ChanceCheck(self.classes, settings.warmup * self.steps)

    def _used(self, dataset: FaceSet) -> Ints:
        """Positions of the faces that are trained on; sets what is validated on."""
        used = np.setdiff1d(np.arange(len(self.pixels)), self.pixels.unreadable)
        if self.settings.select == "held-out":
            random = self.run.generator("margin/held-out")
            out = selection.held_out(dataset.labels[used], self.settings.held_out, random)
            self.sets, used = selection.held_out_pairs(dataset, used[out], random), used[~out]
        return used

    # --- training -----------------------------------------------------------------------------------------------------

    def train(self) -> Recognizer:
        """Train to the end, from the checkpoint where there is one.

        Raises:
            StageError: the loss is not finite, or at chance after the warm-up.
            Stopped: the user asked to stop; a checkpoint is kept.
        """
        first = self._restore()
        progress = self.run.progress(self.steps * self.batch, "images")
        if first:
            progress.advance(first * self.batch)
        if len(self.pixels.unreadable):
            self.run.log("unreadable_images", len(self.pixels.unreadable), first)
        saved = time.monotonic()
        for batch in iter(()) if self._is_over() else self._fetched(first):
            self._step(batch)
            progress.advance(self.batch)
            done = batch.step + 1
            ended = done % self.steps_per_epoch == 0
            if ended:
                self._end_epoch(done)
            if self.ranks.mean(float(self.run.stop_requested)) > 0:  # asked of the first process, obeyed by all
                self._save(done)
                raise Stopped(f"margin trainer stopped after step {done} of {self.steps}")
            if ended or time.monotonic() - saved > CHECKPOINT_S:
                self._save(done)
                saved = time.monotonic()
            if ended and self._is_over():
                break
        return self._finish()

    def _step(self, batch: Batch) -> None:
        settings = self.settings
        labels = self.label_of[batch.which].to(self.device)
        x = self._inputs(batch)
        self.network.train()
        with self._dropout(batch.step), self._precision():
            features = self.recognizer.features(x)  # [B, D]
        features = features.float()
        cosines = (F.normalize(features) @ F.normalize(self.head).T).clamp(-1, 1)  # [B, C]
        generator = torch.Generator().manual_seed(self._seed(self._own(f"head/{batch.step}")))
        norms = features.detach().norm(dim=1)
        loss = F.cross_entropy(
            self.margin.logits(cosines, norms, labels, settings.scale, settings.margin, generator), labels
        )
        self.margin.memory = {name: self.ranks.mean_of(kept) for name, kept in self.margin.memory.items()}
        value = self.ranks.mean(loss.item())
        if not math.isfinite(value):
            self._fail(batch, x, value)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(batch.step)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.ranks.average_gradients([*self.weights, self.head])
        nn.utils.clip_grad_norm_(self.weights, settings.clip_norm)
        nn.utils.clip_grad_norm_([self.head], settings.clip_norm)
        self.optimizer.step()
        self.chance.see(batch.step, cosines.detach(), labels)
        if batch.step % LOG_EVERY_STEPS == 0 or batch.step == self.steps - 1:
            self.run.log("loss", value, batch.step)

    def _inputs(self, batch: Batch) -> Tensor:
        """The augmented images, float [B, 3, S, S] in [-1, 1]."""
        images = batch.images if self.augment is None else self.augment(batch.images, batch.keys)
        x = images.float() / 127.5 - 1
        if self.augment is None:
            generator = torch.Generator().manual_seed(self._seed(f"augment/{batch.step}"))
            of = slice(self.ranks.rank, None, self.ranks.count)
            x = flip_and_scale(x, self.settings, generator, of, self.batch)
        return x.contiguous(memory_format=torch.channels_last) if self.settings.channels_last else x

    def _fail(self, batch: Batch, x: Tensor, loss: float) -> None:
        kept = self.run.keep(
            "not-finite",
            {
                "step": batch.step,
                "positions": torch.from_numpy(batch.which),
                "labels": self.label_of[batch.which],
                "images": batch.images,
                "inputs": x,
            },
        )
        where = f"; its batch is kept in {kept}" if kept else ""
        raise StageError(
            f"margin trainer: the loss is {loss} at step {batch.step} of {self.steps}; expected a finite number: "
            f"lower lr (now {self.settings.lr}) or scale (now {self.settings.scale}){where}"
        )

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.steps, self.settings, self.epochs.accuracies)

    def _end_epoch(self, done: int) -> None:
        self.run.log("learning_rate", self._rate(done - 1), done)
        self.chance.check(done, self.ranks)
        if self.sets:
            self._validate(done)

    def _validate(self, done: int) -> None:
        self.network.eval()
        found = selection.accuracies(self.recognizer, self.sets)
        for name, value in found.items():
            self.run.log(f"validation/{name}", value, done)
        self.epochs.add(self.ranks.mean(selection.mean(found)), self.network.state_dict())

    def _is_over(self) -> bool:
        return self.settings.schedule == "plateau" and is_over(self.epochs.accuracies)

    @contextmanager
    def _dropout(self, step: int) -> Iterator[None]:
        """Give the network's own randomness, which is torch's global one, the step's seed."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self._seed(self._own(f"dropout/{step}")))
            yield

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.dtype == "bfloat16")

    # --- data ---------------------------------------------------------------------------------------------------------

    def _order(self, first: int) -> Iterator[tuple[int, Ints, Tensor]]:
        """Steps from ``first`` on, each with this process's images and their keys."""
        for epoch in range(first // self.steps_per_epoch, self.settings.epochs):
            generator = torch.Generator().manual_seed(self._seed(f"order/{epoch}"))
            order = torch.randperm(len(self.used), generator=generator).numpy()
            generator = torch.Generator().manual_seed(self._seed(f"keys/{epoch}"))
            keys = torch.randint(2**62, (len(self.pixels),), generator=generator)
            for index in range(self.steps_per_epoch):
                step = epoch * self.steps_per_epoch + index
                if step >= first:
                    which = self.used[self.ranks.share(order[index * self.batch : (index + 1) * self.batch])]
                    yield step, which, keys[which]

    def _fetched(self, first: int) -> Iterator[Batch]:
        """Batches with their pixels, on the device."""
        waited_s, since = 0.0, time.perf_counter()
        order, ahead = tee(self._order(first))
        pixels = self.pixels.batches((torch.from_numpy(which) for _, which, _ in ahead), self.run.device)
        for step, which, keys in order:
            asked = time.perf_counter()
            images = next(pixels)
            waited_s += time.perf_counter() - asked
            yield Batch(step, which, images, keys)
            if (step + 1) % self.steps_per_epoch == 0:
                seconds = time.perf_counter() - since
                self.run.log("images_per_second", self.steps_per_epoch * self.batch / seconds, step + 1)
                self.run.log("share_waiting_for_data", waited_s / seconds, step + 1)
                waited_s, since = 0.0, time.perf_counter()

    def _seed(self, purpose: str) -> int:
        digest = hashlib.blake2b(f"{self.run.seed}/margin/{purpose}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1

    def _own(self, purpose: str) -> str:
        """A purpose of this process's own; of the first, as of a single one."""
        return f"{purpose}/{self.ranks.rank}" if self.ranks.rank else purpose

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _save(self, step: int) -> None:
        momenta = [self.optimizer.state[weight]["momentum_buffer"] for weight in [*self.weights, self.head]]
        state = {"step": step, "network": dict(self.network.state_dict()), "head": self.head.data, "momenta": momenta}
        state |= {"memory": self.margin.memory, "accuracies": self.epochs.accuracies, "best": self.epochs.best}
        self.run.checkpoint.save(state | {"chance": self.chance.state()})

    def _restore(self) -> int:
        """Take the checkpoint, if there is one; returns the first step that is still to do."""
        state = self.run.checkpoint.load()
        if state is None:
            return 0
        self.network.load_state_dict(state["network"])
        self.head.data.copy_(state["head"])
        for weight, momentum in zip([*self.weights, self.head], state["momenta"], strict=True):
            self.optimizer.state[weight]["momentum_buffer"] = momentum.to(self.run.device)
        self.margin.memory = {name: value.to(self.device) for name, value in state["memory"].items()}
        self.epochs = Epochs(state["accuracies"], state["best"])
        self.chance.restore(state["chance"])
        return int(state["step"])

    def _finish(self) -> Recognizer:
        if self.sets:
            self.network.load_state_dict(self.epochs.best)
            chosen = best_epoch(self.epochs.accuracies)
            self.run.log("chosen_epoch", chosen, (chosen + 1) * self.steps_per_epoch)
        state = {name: value.detach().clone() for name, value in self.recognizer.state().items()}
        if self.settings.save == "float16":
            state = {name: value.half().float() for name, value in state.items()}
        self.recognizer.load(state, self.run.device)
        return self.recognizer
