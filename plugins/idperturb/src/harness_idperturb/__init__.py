"""IDperturb: every image's context is turned away from its identity's, within a cone (arXiv 2602.18831)."""

from harness import Register, hookimpl


@hookimpl
def register_generators(register: Register) -> None:
    register("idperturb", "harness_idperturb.generator:IDPerturb")
