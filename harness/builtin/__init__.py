"""The components that ship with the core, registered like any plugin's."""

from harness.hookspecs import Register, hookimpl


@hookimpl
def register_sources(register: Register) -> None:
    register("faceworld", "harness.builtin.faceworld:FaceWorldSource")
    register("images", "harness.builtin.images:ImagesSource")
    register("recordio", "harness.builtin.packed:RecordIOSource")
    register("lmdb", "harness.builtin.packed:LmdbSource")


@hookimpl
def register_crops(register: Register) -> None:
    register("arcface", "harness.faces.crops:ARCFACE_CROP")


@hookimpl
def register_recognizers(register: Register) -> None:
    register("small-cnn", "harness.builtin.small_cnn:SmallCNN")
    register("iresnet", "harness.builtin.iresnet:IResNet")
    register("ir", "harness.builtin.iresnet:IR")
    register("mobilefacenet", "harness.builtin.iresnet:MobileFaceNet")
    register("facenet", "harness.builtin.facenet:FaceNet")
    register("timm", "harness.builtin.timm_models:Timm")
    register("onnx", "harness.builtin.onnx:ONNXRecognizer")


@hookimpl
def register_weights(register: Register) -> None:
    register("cond", "harness.builtin:demo/cond.safetensors")
    register("judge", "harness.builtin:demo/judge.safetensors")


@hookimpl
def register_contexts(register: Register) -> None:
    register("uniform", "harness.builtin.contexts:Uniform")
    register("class-gaussian", "harness.builtin.contexts:ClassGaussian")
    register("authentic", "harness.builtin.contexts:AuthenticContexts")
    register("two-stage", "harness.builtin.two_stage:TwoStage")
    register("file", "harness.builtin.context_files:ContextsFile")


@hookimpl
def register_generators(register: Register) -> None:
    register("authentic", "harness.builtin.existing:Authentic")
    register("images", "harness.builtin.existing:Images")
    register("toy", "harness.testing.toy:Toy")
    register("unconditional", "harness.builtin.unconditional:Unconditional")


@hookimpl
def register_aligners(register: Register) -> None:
    register("mtcnn", "harness.builtin.mtcnn:MTCNNAligner")
    register("landmarks", "harness.builtin.landmarks:LandmarksAligner")
    register("none", "harness.builtin.no_alignment:NoAlignment")


@hookimpl
def register_heads(register: Register) -> None:
    register("cosface", "harness.builtin.heads:CosFace")
    register("arcface", "harness.builtin.heads:ArcFace")
    register("combined", "harness.builtin.heads:Combined")
    register("adaface", "harness.builtin.heads:AdaFace")
    register("elasticface-arc", "harness.builtin.heads:ElasticArc")
    register("elasticface-cos", "harness.builtin.heads:ElasticCos")


@hookimpl
def register_trainers(register: Register) -> None:
    register("margin", "harness.builtin.margin:MarginTrainer")


@hookimpl
def register_protocols(register: Register) -> None:
    register("fw-lfw", "harness.builtin.faceworld:FwLfw")
    register("fw-cfp", "harness.builtin.faceworld:FwCfp")
    register("fw-agedb", "harness.builtin.faceworld:FwAgedb")
    register("fw-groups", "harness.builtin.faceworld:FwGroups")
    register("fw-ijb", "harness.builtin.fw_ijb:FwIjb")
    register("fw-identification", "harness.builtin.fw_ijb:FwIdentification")
    register("pairs", "harness.builtin.pairs:SourcePairs")
    register("bin", "harness.builtin.files:BinProtocol")
    register("parquet-pairs", "harness.builtin.files:ParquetPairs")
    register("folder-pairs", "harness.builtin.files:FolderPairs")
    register("ijbb", "harness.builtin.ijb_files:IJBB")
    register("ijbc", "harness.builtin.ijb_files:IJBC")


@hookimpl
def register_evaluators(register: Register) -> None:
    register("verification", "harness.builtin.verification:Verification")
    register("ijb", "harness.builtin.ijb:IJB")
    register("identification", "harness.builtin.identification:Identification")
    register("fairness", "harness.builtin.fairness:Fairness")
    register("separability", "harness.builtin.separability:Separability")
    register("distributions", "harness.builtin.distributions:Distributions")
    register("leakage", "harness.builtin.leakage:Leakage")
    register("diversity", "harness.builtin.diversity:Diversity")
    register("fidelity", "harness.builtin.fidelity:Fidelity")
    register("consistency", "harness.builtin.consistency:Consistency")
    register("crops", "harness.builtin.crops:Crops")
