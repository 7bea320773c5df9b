"""The results of evaluations in a run's files, as typed records. Unknown keys are ignored, missing
ones are None.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1
PartName = Literal["report", "select"]
Interval = tuple[float, float]
Pair = tuple[float | None, float | None]


class Record(BaseModel):
    """A part of a JSON file. A later version may have more keys."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Flips(Record):
    """How many questions changed between right and wrong, or readable and not, between two
    models.
    """

    right_to_wrong: int = 0
    wrong_to_right: int = 0
    unparsed_to_parsed: int = 0
    parsed_to_unparsed: int = 0


class Comparison(Record):
    """One model against another on the same questions of one part."""

    difference: float | None = None
    interval: Interval | None = None
    lower_bound: float | None = None
    upper_bound: float | None = None
    p_value: float | None = None
    accuracy_difference: float | None = None
    accuracy_interval: Interval | None = None
    accuracy_p_value: float | None = None
    sign_test_p: float | None = None
    verdict: str = "no evidence"
    mde: float | None = None
    mde_primary: float | None = None
    flips: Flips = Flips()
    flips_by_category: dict[str, Flips] = Field(default_factory=dict)
    decomposition: dict[str, Pair | None] = Field(default_factory=dict)


class Against(Record):
    """The comparisons with one other stage. `refused` says why the two may not be compared."""

    stage: str | None = None
    select: Comparison | None = None
    report: Comparison | None = None
    refused: str | None = None

    def part(self, name: PartName) -> Comparison | None:
        return self.report if name == "report" else self.select


class Category(Record):
    """One category's share of right answers."""

    n: int = 0
    accuracy: float | None = None
    interval: Interval | None = None


class Sampling(Record):
    """Several answers per question: the mean of the statistic over them, the statistic of the
    majority answer, and the share of questions with a right answer among k.
    """

    n: int
    mean: float | None = None
    stdev: float | None = None
    majority: float | None = None
    pass_at: dict[str, float] = Field(default_factory=dict)


class Part(Record):
    """A benchmark's figures on one of its two parts."""

    n: int = 0
    clusters: int = 0
    errors: int = 0
    value: float | None = None
    max: float | None = None
    accuracy: float | None = None
    stderr: float | None = None
    stderr_clustered: float | None = None
    interval: Interval | None = None
    accuracy_interval: Interval | None = None
    majority_baseline: float | None = None
    majority_value: float | None = None
    random_baseline: float | None = None
    parse_rate: float | None = None
    truncated_share: float | None = None
    mean_tokens: float | None = None
    sampling: Sampling | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    categories: dict[str, Category] = Field(default_factory=dict)


class Primary(Record):
    """The benchmark's own statistic."""

    name: str = "accuracy"
    max: float = 1.0
    unit: str = ""


class Gate(Record):
    """What the gate decided, on the select part."""

    verdict: str | None = None
    reasons: list[str] = Field(default_factory=list)
    max_drop_percent: float | None = None
    n_to_decide: int | None = None
    alarms: list[str] = Field(default_factory=list)


class Cost(Record):
    """What the evaluation cost."""

    seconds: float | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    questions: int | None = None


class Flag(Record):
    """Why a question is suspect: `kinds` of overlap with training data; `train` names a row
    there.
    """

    kinds: list[str] = Field(default_factory=list)
    text_share: float | None = None
    train: str = ""


class Without(Record):
    """A part's score without the images and questions that are in the training data."""

    n: int = 0
    value: float | None = None
    interval: Interval | None = None
    left_out: int = 0


class Contamination(Record):
    """Whether training rows are in the benchmark, by image and by question."""

    checked: bool = False
    overlap_images: int = 0
    flagged: dict[str, Flag] = Field(default_factory=dict)
    without: dict[str, Without] = Field(default_factory=dict)

    @property
    def state(self) -> str:
        """`clean`, `unchecked`, or how many images overlap and questions are suspect."""
        if not self.checked:
            return "unchecked"
        images, questions = self.overlap_images, len(self.flagged)
        found = [f"{images} overlapping image{'s' if images > 1 else ''}"] if images else []
        found += [f"{questions} known question{'s' if questions > 1 else ''}"] if questions else []
        return ", ".join(found) or "clean"


class Parity(Record):
    """What the parity gate found of the engine that answered. `against`: what it was compared with,
    the learner or a plain forward pass; None: nothing, by the user's choice.
    """

    against: str | None = None
    max: float | None = None
    mean: float | None = None
    tokens: int = 0


class Result(Record):
    """One stage on one benchmark: a result.json."""

    schema_version: int = Field(alias="schema")
    benchmark: str
    version: str = ""
    profile: str = ""
    stage: str
    base_stage: str | None = None
    parent_stage: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    primary: Primary = Primary()
    parts: dict[str, Part] = Field(default_factory=dict)
    comparisons: dict[str, Against | None] = Field(default_factory=dict)
    gate: Gate | None = None
    cost: Cost = Cost()
    judge: Any = None
    contamination: Contamination = Contamination()
    parity: Parity | None = None  # None: an endpoint, or an older run, whose stages were compared

    @property
    def is_engine_compared(self) -> bool:
        """Whether the engine that answered was compared with the model, as far as is known."""
        return self.parity is None or self.parity.against is not None

    @property
    def shown(self) -> PartName:
        """The part that a reader is shown: `report`, or `select` where only that was measured."""
        report = self.parts.get("report")
        return "report" if report is not None and report.n else "select"

    @property
    def part(self) -> Part:
        return self.parts.get(self.shown) or Part()

    def most(self, part: Part | None) -> float:
        """The maximum of the statistic on the part; older files have one for both parts
        together.
        """
        return self.primary.max if part is None or part.max is None else part.max

    def against(self, role: Literal["parent", "base"]) -> Against | None:
        return self.comparisons.get(role)

    def comparison(self, role: Literal["parent", "base"]) -> Comparison | None:
        """The comparison on the part that is shown."""
        against = self.against(role)
        return against.part(self.shown) if against else None
