"""IDiff-Face: identity-conditioned latent diffusion with contextual partial dropout (arXiv 2308.04995)."""

from harness.hookspecs import Register, hookimpl


@hookimpl
def register_generators(register: Register) -> None:
    register("idiffface", "harness_idiffface.generator:IDiffFace")


@hookimpl
def register_weights(register: Register) -> None:
    register("ldm", "harness_idiffface:demo/ldm.safetensors")
