"""NegFaceDiff: negative-context guidance for identity-conditioned diffusion (arXiv 2508.09661)."""

from harness.hookspecs import Register, hookimpl


@hookimpl
def register_generators(register: Register) -> None:
    register("negfacediff", "harness_negfacediff.generator:NegFaceDiff")
