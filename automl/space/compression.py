"""The declaration of what happens to the best trials after the search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from automl.space.faults import Fault, KeyPath, wrong_value
from automl.space.pruning import PruningSettings
from automl.space.pydantic_faults import raise_faults
from automl.space.strict import Count, NotNegative, Positive, Settings, Share

RuntimeName = Literal["onnxruntime", "openvino"]
RungName = Literal["per_tensor", "per_channel", "nncf", "entropy", "percentile", "mixed", "qat"]
RUNG_NAMES: tuple[RungName, ...] = get_args(RungName)


#: The rungs of a study that names none.
_DEFAULT_RUNGS: Mapping[str, tuple[RungName, ...]] = {
    "onnxruntime": ("per_channel", "entropy", "percentile", "mixed"),
    "openvino": ("per_channel", "nncf", "entropy", "percentile", "mixed"),
}


def _tuple(raw: Any) -> Any:
    """A list as a tuple: what lies below a switch is no longer read as JSON."""
    return tuple(raw) if isinstance(raw, list) else raw


Rungs = Annotated[tuple[RungName, ...], BeforeValidator(_tuple)]


PruningRatio = Annotated[float, Field(ge=0, le=0.9)]


def _without(plain: dict[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what came later and has its default: a study of before keeps its key."""
    return {key: v for key, v in plain.items() if key not in added or v != added[key]}


class Student(PruningSettings):
    """A smaller model to distil from a winner."""

    decoder_width_factor: Share = 1.0
    """The teacher's decoder width times this, rounded to a multiple of 8."""
    pruning_ratio: PruningRatio = 0.0
    """Share of its channels to remove, on top of the winner's own."""
    epochs: Count | None = None
    """Epochs of its distillation; null: those of `compress`."""

    @model_serializer(mode="wrap")
    def _as_declared(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        added = {**PruningSettings().model_dump(), "epochs": None}
        return _without(handler(self), added)


Ratios = Annotated[tuple[Annotated[float, Field(gt=0, le=0.9)], ...], BeforeValidator(_tuple)]


class Family(PruningSettings):
    """Students of one winner that differ in their pruning ratio alone."""

    ratios: Ratios = (0.25, 0.5, 0.7)
    """Their pruning ratios, each once; [] for none."""
    epochs: Count | None = None
    """Epochs of each one's distillation; null: those of `compress`."""

    @model_validator(mode="after")
    def _check_ratios(self) -> Self:
        if len(set(self.ratios)) < len(self.ratios):
            raise_faults([wrong_value(("ratios",), list(self.ratios), "each ratio once", [])])
        return self

    def students(self) -> tuple[Student, ...]:
        """The members."""
        how = {name: getattr(self, name) for name in PruningSettings.model_fields}
        return tuple(Student(pruning_ratio=r, epochs=self.epochs, **how) for r in self.ratios)


class Int8Settings(Settings):
    """The forms of INT8 to try for each network, and what one must keep to."""

    max_drop: NotNegative = 0.005
    """Largest drop of the mIoU on val, against the FP32 file."""
    max_class_drop: NotNegative = 0.02
    """Largest drop of the IoU of any class on val."""
    min_speedup: Annotated[float, Field(ge=1)] = 1.05
    """Least speed against the FP32 file, timed side by side; less than 1.05 may be noise."""
    allow_slower_if_smaller: bool = True
    """Whether a form that keeps its accuracy but is not faster is kept for its size: it may then be
    `smallest`, and be on the front only where size_mb is an objective."""
    rungs: Rungs | None = None
    """The forms in the order in which they are tried. per_tensor: one scale for all weights of a
    layer; per_channel: one for each output channel; nncf: laid out by OpenVINO's own compressor,
    with target.runtime openvino alone; entropy, percentile: ranges without outliers; mixed: the
    most sensitive layers stay in FP32; qat: the network is fine-tuned for INT8, which trains and is
    therefore asked for. null: per_channel, with openvino nncf, entropy, percentile and mixed."""
    qat_epochs: Count = 2
    """Epochs of that fine-tuning."""
    qat_learning_rate: Positive | None = None
    """Its peak learning rate; null: a tenth of the trial's."""

    @model_validator(mode="after")
    def _check_rungs(self) -> Self:
        rungs = self.rungs
        if rungs is not None and (not rungs or len(set(rungs)) < len(rungs)):
            raise_faults([wrong_value(("rungs",), list(rungs), "one or more, each once", [])])
        return self

    def rungs_in(self, runtime: str) -> tuple[RungName, ...]:
        """The forms to try for a runtime."""
        return _DEFAULT_RUNGS[runtime] if self.rungs is None else self.rungs

    def resolved(self, runtime: str) -> Self:
        """The same with these spelt out."""
        return self.model_copy(update={"rungs": self.rungs_in(runtime)})


def _int8(raw: Any) -> Any:
    """`true` as the defaults, `false` as None; a mapping is for `Int8Settings` to judge."""
    if isinstance(raw, bool):
        return Int8Settings() if raw else None
    if not isinstance(raw, (Mapping, Int8Settings)):
        allowed = "true, false, or a mapping such as {max_drop: 0.005, min_speedup: 1.05}"
        raise_faults([wrong_value((), raw, allowed, ["true", "false"])])
    return raw


def _short(given: Int8Settings | None) -> Any:
    """The defaults as `true`: a study that was declared so before keeps its key."""
    if given is None or given == Int8Settings():
        return given is not None
    return given.model_dump(mode="json")


def int8_key(given: Int8Settings | None, runtime: str) -> Any:
    """What keys of studies hold of INT8: rungs spelt out, as before they depended on a runtime."""
    if given is None:
        return False
    resolved = given.resolved(runtime)
    default = Int8Settings().resolved("onnxruntime")
    return True if resolved == default else resolved.model_dump(mode="json")


def rung_faults(given: Int8Settings | None, runtime: str) -> list[Fault]:
    """A fault where forms are declared that the runtime has none of."""
    if given is None or runtime == "openvino" or "nncf" not in given.rungs_in(runtime):
        return []
    allowed = "rungs of onnxruntime; nncf goes with target: {runtime: openvino}"
    return [wrong_value(("compress", "int8", "rungs"), list(given.rungs_in(runtime)), allowed, [])]


Int8 = Annotated[
    Int8Settings | None,
    BeforeValidator(_int8),
    PlainSerializer(_short),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, Int8Settings.model_json_schema()]}),
]


class TeacherCache(Settings):
    """Teachers' answers, recorded once, instead of a forward pass of the teacher in every step."""

    views: Count = 4
    """Augmented views of each training image that a student goes through in turn, one an epoch."""
    max_gb: Positive = 4.0
    """Largest size on disk of the answers of one teacher, in GB (1e9 bytes)."""


class CompressSettings(Settings):
    """What happens to the best trials: distillation into students, then INT8."""

    winners: Count = 2
    """The best trials that become teachers and candidates."""
    students: tuple[Student, ...] = (Student(pruning_ratio=0.25),)
    """The students of each winner; [] for none."""
    family: Family | None = None
    """More students of each winner, by their ratios, such as {ratios: [0.25, 0.5, 0.7]}; null:
    none."""
    min_pruning_speedup: Annotated[float, Field(ge=1)] = 1.05
    """Least speed of a pruned student against its teacher, timed side by side; a slower one is kept
    for its size alone."""
    epochs: Count = 6
    """Epochs of a distillation."""
    learning_rate: Positive | None = None
    """Peak learning rate of a distillation; null: the teacher's."""
    teachers: Literal["own", "winners"] = "own"
    """Who teaches a student. own: the winner that it is made from; winners: all of them, by the
    mean of their softened probabilities, while features are learnt from its own alone."""
    temperature: Positive = 2.0
    """Temperature of the per-pixel logit distillation."""
    logit_weight: NotNegative = 1.0
    """Weight of the logit distillation beside the task's loss."""
    channel_weight: NotNegative = 0.0
    """Weight of the channel-wise feature distillation beside the task's loss."""
    feature_weight: NotNegative = 0.0
    """Weight of the matching of the encoder's stages, beside the task's loss; 0: none."""
    teacher_cache: TeacherCache | None = None
    """Record what a teacher says of fixed augmented views of each training image, such as {views:
    4}; null: it computes in every step, on images augmented anew. A trial that mixes images is
    taught without it."""
    int8: Int8 = Field(default=Int8Settings(), json_schema_extra={"default": True})
    """Whether to quantize every candidate to INT8, too, and what that must keep to; true: with
    these defaults."""
    calibration_images: Count = 64
    """Training images that calibrate the INT8 ranges."""

    @property
    def all_students(self) -> tuple[Student, ...]:
        """The declared students of each winner, then the members of the family."""
        return (*self.students, *(() if self.family is None else self.family.students()))

    def epochs_of(self, student: Student) -> int:
        """For how long a student is distilled."""
        return self.epochs if student.epochs is None else student.epochs

    @model_validator(mode="after")
    def _check_students(self) -> Self:
        named: list[tuple[KeyPath, Student]] = [
            (("students", i, "steps"), student) for i, student in enumerate(self.students)
        ]
        if self.family is not None and self.family.ratios:
            named.append((("family", "steps"), self.family.students()[0]))
        faults = [
            wrong_value(path, s.steps, f"<= {self.epochs_of(s)}, an epoch for each step", [])
            for path, s in named
            if s.steps > self.epochs_of(s)
        ]
        if self.teacher_cache is not None and self.feature_weight > 0:
            allowed = "null where feature_weight is above 0: the encoder's stages are not recorded"
            given = self.teacher_cache.model_dump()
            faults.append(wrong_value(("teacher_cache",), given, allowed, []))
        if faults:
            raise_faults(faults)
        return self

    @model_serializer(mode="wrap")
    def _as_declared(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        added: dict[str, Any] = {"family": None, "min_pruning_speedup": 1.05, "feature_weight": 0.0}
        added |= {"teachers": "own", "teacher_cache": None}
        return _without(handler(self), added)
