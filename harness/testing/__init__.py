"""What plugin authors use in their tests: a check of the contract for every kind of component, and faces to give them.

Each check takes a component at the smallest size that its settings allow, with pytest or without, and raises
``AssertionError`` with the rule that is broken (:data:`RULES`), the component, what was found and what is expected::

    def test_the_contract() -> None:
        check_generator(Blobs(BlobsSettings(size_px=16)))
        check_light_import("harness_blobs")

``harness.testing.toy`` is a generator to read.
"""

from harness.testing.aligner import check_aligner, check_attribute_predictor
from harness.testing.component import check_component, check_light_import, check_own_code
from harness.testing.evaluation import check_evaluator, check_protocol
from harness.testing.images import check_generator, check_source
from harness.testing.recognizer import check_context_law, check_recognizer
from harness.testing.rules import RULES
from harness.testing.training import check_fit, check_head, check_trainer
from harness.testing.world import faces, pictures

__all__ = [
    "RULES",
    "check_aligner",
    "check_attribute_predictor",
    "check_component",
    "check_context_law",
    "check_evaluator",
    "check_fit",
    "check_generator",
    "check_head",
    "check_light_import",
    "check_own_code",
    "check_protocol",
    "check_recognizer",
    "check_source",
    "check_trainer",
    "faces",
    "pictures",
]
