"""ID3: attribute conditioning, ID-preserving loss and adjusted-score sampling (arXiv 2409.17576)."""

from harness.hookspecs import Register, hookimpl


@hookimpl
def register_generators(register: Register) -> None:
    register("id3", "harness_id3.generator:ID3")


@hookimpl
def register_attribute_predictors(register: Register) -> None:
    register("landmark-pose", "harness_id3.pose:LandmarkPose")


@hookimpl
def register_contexts(register: Register) -> None:
    register("tammes", "harness_id3.anchors:Tammes")


@hookimpl
def register_weights(register: Register) -> None:
    register("id3", "harness_id3:demo/id3.safetensors")
