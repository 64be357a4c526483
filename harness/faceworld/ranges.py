"""Who is who: the identities of the face world, cut into ranges that never meet.

A benchmark is honest only if no identity of its test set has been seen in any training, and a dataset's judge is
independent only if it learned other faces than the recognizer that conditioned the dataset. One table keeps that
promise for every stage.
"""

from __future__ import annotations

IDENTITY_RANGES: dict[str, range] = {
    "train": range(100_000),  # the authentic source: generators are fitted on it, the upper bound is trained on it
    "cond": range(100_000, 200_000),  # the recognizer whose embeddings condition the generators
    "judge": range(200_000, 300_000),  # the second recognizer, which judges generated datasets
    "protocols": range(300_000, 300_300),  # the benchmarks, seen by nobody before
    "templates": range(310_000, 311_000),  # the template benchmark fw-ijb, seen by nobody before
    "spare": range(400_000, 500_000),  # studies, demonstrations, tests
}
