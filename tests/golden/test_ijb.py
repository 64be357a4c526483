"""Template aggregation and operating points against numbers of the public reference implementation of IJB."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.stats.templates import TemplateSums, image_features, image_weights, pair_scores, points_nearest


def test_scores_and_rates_equal_reference(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "ijb.npz")
    ids, template = np.unique(golden["template_id"], return_inverse=True)
    weights = image_weights(template, golden["media_id"], golden["detector_score"])
    sums = TemplateSums(len(ids), golden["features"].shape[1])
    for start in range(0, len(template), 100):
        part = slice(start, start + 100)
        sums.add(
            template[part], weights[part], image_features(golden["features"][part], golden["features_flipped"][part])
        )
    a, b = (np.searchsorted(ids, golden[f"pair_template_{side}"]) for side in (1, 2))
    scores = pair_scores(sums.vectors(), a, b)
    reference = golden["pair_score"]
    assert np.abs(scores - reference).max() / np.abs(reference).max() <= 1e-5
    same = golden["pair_label"].astype(bool)
    points = points_nearest(scores[same], scores[~same], golden["far_points"].tolist())
    np.testing.assert_allclose([point.tar for point in points], golden["tar"], rtol=0, atol=1e-9)
