"""Which of several faces is taken, against facenet-pytorch's own rules and the formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
from facenet_pytorch import MTCNN
from PIL import Image

from harness.faces.choice import Choice, choose_face, covers_middle

WIDTH, HEIGHT = 250, 200


def boxes(seed: int) -> np.ndarray:
    """One to five boxes in a picture, in no order of size or place."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 150, (rng.integers(1, 6), 2)), rng.uniform(10, 100, (1, 1))
    size = size * rng.uniform(0.5, 1.5, corner.shape)
    return np.concatenate([corner, corner + size], axis=1)


@pytest.mark.parametrize(("choice", "method"), [("centered", "center_weighted_size"), ("largest", "largest")])
def test_the_rules_are_those_of_facenet_pytorch(choice: Choice, method: str) -> None:
    library, picture = MTCNN(), Image.new("RGB", (WIDTH, HEIGHT))
    rivals = 0
    for seed in range(300):
        drawn = boxes(seed)
        probs, points = np.ones(len(drawn)), np.zeros((len(drawn), 5, 2))
        # the library's pixel centers lie at halves
        taken = library.select_boxes(drawn + 0.5, probs, points, picture, method=method)[0]
        chosen = choose_face(drawn, WIDTH, HEIGHT, choice)
        np.testing.assert_allclose(np.ravel(taken), drawn[chosen] + 0.5)
        rivals += chosen != choose_face(drawn, WIDTH, HEIGHT, "first")
    assert rivals > 100, "the rule chose"


def test_the_nearest_face_is_nearest_whatever_its_size() -> None:
    for seed in range(100):
        drawn = boxes(seed)
        away = [
            float(np.hypot((x + right) / 2 - (WIDTH - 1) / 2, (y + bottom) / 2 - (HEIGHT - 1) / 2))
            for x, y, right, bottom in drawn
        ]
        assert choose_face(drawn, WIDTH, HEIGHT, "nearest") == away.index(min(away))


def test_the_surest_comes_first_and_a_crowd_is_refused() -> None:
    drawn = np.array([[0, 0, 10, 10], [80, 80, 170, 170]])
    assert choose_face(drawn, WIDTH, HEIGHT, "first") == 0
    assert choose_face(drawn, WIDTH, HEIGHT, "refuse") is None
    assert choose_face(drawn[1:], WIDTH, HEIGHT, "refuse") == 0


def test_a_bystander_who_is_larger_is_not_the_labelled_person() -> None:
    """Areas 3,600 and 4,900; the second lies 95 px to the side, which costs it 18,050."""
    person, bystander = [95, 70, 155, 130], [184, 65, 254, 135]
    assert choose_face(np.array([person, bystander]), WIDTH, HEIGHT, "centered") == 0
    assert choose_face(np.array([person, bystander]), WIDTH, HEIGHT, "largest") == 1


@pytest.mark.parametrize(
    ("box", "covers"),
    [
        ([0, 0, 249, 199], True),
        ([124.5, 99.5, 200, 199], True),
        ([125, 0, 249, 199], False),
        ([0, 100, 249, 199], False),
        ([-20, -20, 124, 199], False),
    ],
)
def test_what_covers_the_middle(box: list[float], covers: bool) -> None:
    assert covers_middle(np.array(box), WIDTH, HEIGHT) is covers
