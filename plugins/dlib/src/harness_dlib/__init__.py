"""dlib's face recognition network, its weights and its chip."""

from harness.hookspecs import Register, hookimpl


@hookimpl
def register_recognizers(register: Register) -> None:
    register("dlib", "harness_dlib.recognizer:DlibResNet")


@hookimpl
def register_weights(register: Register) -> None:
    register("dlib", "harness_dlib.published:write")


@hookimpl
def register_crops(register: Register) -> None:
    register("dlib-chip", "harness_dlib.chip:CHIP")


@hookimpl
def register_aligners(register: Register) -> None:
    register("dlib", "harness_dlib.aligner:DlibAligner")
