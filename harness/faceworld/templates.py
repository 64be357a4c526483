"""``fw-ijb``, the template benchmark of the face world: sets of stills and clips of a person, all pairs of them.

Like IJB-B and IJB-C it compares templates, in which one person is seen several times, in widely varying pictures. A
clip is a sample of the renderer with further frames, which share its scene.

Letters: M images, T templates, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness import noise
from harness.faceworld.ranges import IDENTITY_RANGES

TEMPLATES = 4  # per identity
STILLS, CLIPS = (0, 3), (0, 2)  # per template, from and to; a template has at least one image
FRAMES = (2, 6)  # of a clip

Int = NDArray[np.int64]


@dataclass(frozen=True)
class TemplateList:
    """Images in templates, and pairs of those.

    Attributes:
        identities: identity of each image, int64 [M].
        samples: medium of each image, numbered per identity: the sample of the renderer, int64 [M].
        frames: frame of each image within its medium, int64 [M].
        template: template of each image, 0 to T - 1, int64 [M].
        a: first template of each pair, int64 [P].
        b: second template of each pair, int64 [P].
        same: whether the pair is genuine, bool [P].
    """

    identities: Int
    samples: Int
    frames: Int
    template: Int
    a: Int
    b: Int
    same: NDArray[np.bool_]


def templates(identities: int, seed: int = 0) -> TemplateList:
    """Draw the templates; every two of them are a pair.

    Args:
        identities: how many people, from the start of their range.
        seed: chooses how many stills and frames the templates have; published figures use 0.
    """
    people = IDENTITY_RANGES["templates"][:identities]
    rows: list[tuple[int, int, int, int]] = []
    for place, who in enumerate(people):
        medium = 0
        for k in range(TEMPLATES):
            for frames in _media(seed, who, k):
                rows += [(who, medium, frame, place * TEMPLATES + k) for frame in range(frames)]
                medium += 1
    identity, sample, frame, template = np.array(rows, dtype=np.int64).T
    a, b = np.triu_indices(len(people) * TEMPLATES, 1)
    return TemplateList(identity, sample, frame, template, a, b, a // TEMPLATES == b // TEMPLATES)


def _media(seed: int, identity: int, template: int) -> list[int]:
    """The number of frames of each medium of a template; a still has one."""
    u = noise.uniform(seed, [identity], [template], 2 + CLIPS[1], "faceworld/fw-ijb")[0].tolist()
    stills, clips = _between(STILLS, u[0]), _between(CLIPS, u[1])
    lengths = [_between(FRAMES, value) for value in u[2 : 2 + clips]]
    return [1] * max(stills, not clips) + lengths


def _between(limits: tuple[int, int], u: float) -> int:
    """A whole number from and to the limits, from a uniform one."""
    return limits[0] + int(u * (limits[1] - limits[0] + 1))
