"""What a run cost: each stage over all of its parts (a stage that was interrupted and resumed has
several), and the sum over stages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from evals.report.run import Run, Stage, seconds_of

_ENDS = {"run_stopped": "stopped", "run_failed": "failed", "run_finished": "stopped"}


@dataclass(frozen=True)
class Part:
    """One attempt at a stage. `end`: finished, stopped, failed, killed or running. The end of a
    killed one was not written: its time is at least `seconds`.
    """

    seconds: float
    end: str
    first_step: int = 0  # steps that were done when it started
    last_step: int | None = None  # steps that it left to the next part


@dataclass(frozen=True)
class Redone:
    """Steps that were lost and done a second time, with their cost."""

    steps: int = 0
    seconds: float = 0.0
    trained: float = 0.0
    forward: float = 0.0
    generated: float = 0.0

    def __add__(self, other: Redone) -> Redone:
        return Redone(
            self.steps + other.steps,
            self.seconds + other.seconds,
            self.trained + other.trained,
            self.forward + other.forward,
            self.generated + other.generated,
        )


@dataclass(frozen=True)
class Spent:
    """One stage's cost, work that was done twice included."""

    stage: Stage
    seconds: float | None
    parts: tuple[Part, ...]
    redone: Redone
    sampled: float | None  # answers drawn: rollouts of training, or of a sample stage
    prompts: int | None
    pairs: int | None
    heldout: int | None
    trained: float | None
    forward: float | None
    generated: float | None
    questions: int

    @property
    def is_at_least(self) -> bool:
        """Whether a part's end is unknown, so that the time is a lower bound."""
        return any(part.end == "killed" for part in self.parts)


@dataclass(frozen=True)
class Total:
    """The run's whole cost. `engines` is the time for starting engines, over all attempts; `rest`
    is the time outside stages: reports, loading, and what a killed attempt did not record.
    """

    stages: tuple[Spent, ...]
    attempts: int
    seconds: float | None
    engines: float
    rest: float

    @property
    def questions(self) -> int:
        return sum(item.questions for item in self.stages)

    @property
    def steps(self) -> int:
        """Optimizer steps, those done twice counted twice."""
        trained = [item for item in self.stages if item.stage.kind == "train"]
        return sum(item.stage.steps + item.redone.steps for item in trained)

    def total(self, key: str) -> float | None:
        """The sum of one figure over the stages; None where no stage has it."""
        values = [value for item in self.stages if (value := getattr(item, key)) is not None]
        return sum(values) if values else None

    @property
    def uncounted(self) -> list[str]:
        """The stages that drew answers and did not count their tokens."""
        return [item.stage.name for item in self.stages if item.sampled and item.generated is None]


def total_cost(run: Run) -> Total:
    """The cost of everything that the run did, from its events and metrics.

    cost = total_cost(read_run(Path("runs/quickstart-0")))
    cost.seconds, cost.steps, cost.total("generated")
    """
    stages = tuple(stage_cost(run, stage) for stage in run.stages)
    engines = _engines(run.events)
    known = engines + sum(item.seconds or 0.0 for item in stages)
    whole = run.seconds
    rest = 0.0 if whole is None else max(whole - known, 0.0)
    attempts = sum(_is(event, "run_started") for event in run.events)
    return Total(
        stages, attempts, None if whole is None else max(whole, known), engines, round(rest, 3)
    )


@dataclass(frozen=True)
class Reached:
    """The cost of reaching a stage: the sum over the stages that it starts from or learned from,
    and itself, which is last. Candidates for its parent that were not chosen are not counted.
    """

    stages: tuple[str, ...]
    seconds: float | None
    is_at_least: bool


def reached(run: Run, total: Total, name: str) -> Reached:
    """The cost of reaching a stage, in the run's order."""
    needed, ahead = set[str](), [name]
    while ahead:
        one = ahead.pop()
        stage = run.stage(one)
        if stage is None or one in needed:
            continue
        needed.add(one)
        data = stage.facts.get("data")
        ahead += [stage.parent or "", *map(str, data if isinstance(data, list) else [])]
    items = [item for item in total.stages if item.stage.name in needed]
    known = [item.seconds for item in items if item.seconds is not None]
    return Reached(
        tuple(item.stage.name for item in items),
        sum(known) if known else None,
        len(known) < len(items) or any(item.is_at_least for item in items),
    )


@dataclass(frozen=True)
class Asked:
    """The sum over all evaluations at the ends of stages."""

    evaluations: int
    questions: int
    seconds: float
    prompt_tokens: int
    new_tokens: int


def asked(run: Run) -> Asked:
    """The sum over stages and benchmarks."""
    costs = [result.cost for stage in run.stages for result in stage.results.values()]
    return Asked(
        len(costs),
        sum(cost.questions or 0 for cost in costs),
        sum(cost.seconds or 0.0 for cost in costs),
        sum(cost.prompt_tokens or 0 for cost in costs),
        sum(cost.new_tokens or 0 for cost in costs),
    )


def stage_cost(run: Run, stage: Stage) -> Spent:
    """One stage's cost over all of its parts."""
    redone = sum(
        (_redone(event) for event in run.events if _is(event, "steps_redone", stage.name)), Redone()
    )
    parts = _parts(run, stage, redone)
    counts = _mapping(stage.facts.get("counts"))
    trained, forward, generated = (
        metric_sum(stage, f"tokens/{kind}") for kind in ("trained", "forward", "generated")
    )
    kept = _mapping(stage.facts.get("cost"))
    return Spent(
        stage=stage,
        seconds=_seconds(run, stage, parts),
        parts=parts,
        redone=redone,
        sampled=_sampled(run, stage, generated),
        prompts=counts.get("prompts"),
        pairs=counts.get("pairs"),
        heldout=counts.get("heldout"),
        trained=_and(trained, redone.trained),
        forward=_and(forward, redone.forward),
        generated=_and(generated or kept.get("tokens/generated"), redone.generated),
        questions=sum(result.cost.questions or 0 for result in stage.results.values()),
    )


def metric_sum(stage: Stage, key: str) -> float | None:
    """The sum of a metric over the stage's steps."""
    values = [row[key] for row in stage.metrics if isinstance(row.get(key), int | float)]
    return float(sum(values)) if values else None


def samples(stage: Stage) -> float | None:
    """Completions or rows trained on: rate times time, step by step."""
    found = [
        row["samples/s"] * row["time/step_s"]
        for row in stage.metrics
        if isinstance(row.get("samples/s"), int | float)
        and isinstance(row.get("time/step_s"), int | float)
    ]
    return float(sum(found)) if found else None


def _seconds(run: Run, stage: Stage, parts: tuple[Part, ...]) -> float | None:
    if parts:
        return sum(part.seconds for part in parts)
    if stage.seconds is not None:
        return stage.seconds
    asked = [
        float(event["seconds"])
        for event in run.events
        if _is(event, "evaluated", stage.name) and isinstance(event.get("seconds"), int | float)
    ]
    return sum(asked) if asked else metric_sum(stage, "time/step_s")


def _sampled(run: Run, stage: Stage, generated: float | None) -> float | None:
    """Answers drawn; of a sample stage that did not count them, prompts times the recipe's `n`."""
    rollouts = _mapping(stage.facts.get("cost")).get("rollouts")
    if rollouts is not None:
        return float(rollouts)
    if generated is not None:
        found = samples(stage)
        return None if found is None else float(round(found))
    prompts = _mapping(stage.facts.get("counts")).get("prompts")
    listed = run.config.get("stages")
    pages = [page for page in listed if isinstance(page, dict)] if isinstance(listed, list) else []
    page = next((page for page in pages if page.get("name") == stage.name), {})
    n = _mapping(page.get("sample")).get("n")
    return float(prompts * n) if isinstance(prompts, int) and isinstance(n, int) else None


def _parts(run: Run, stage: Stage, redone: Redone) -> tuple[Part, ...]:
    """The stage's attempts in order, each with the steps that it left to the next."""
    found = list(_attempts(run, stage.name))
    out = []
    for number, part in enumerate(found):
        is_last = number + 1 == len(found)
        left = stage.steps if is_last else found[number + 1].first_step
        own = part.seconds
        if part.end == "killed":
            kept = sum(
                float(row.get("time/step_s") or 0.0)
                for row in stage.metrics
                if part.first_step < row.get("step", 0) <= left
            )
            own = max(own, kept + (redone.seconds if len(found) == 2 else 0.0))
        out.append(replace(part, seconds=round(own, 3), last_step=left or None))
    return tuple(out)


def _attempts(run: Run, name: str) -> Iterator[Part]:
    start_time: float | None = None
    last, first, is_first = 0.0, 0, True
    for event in run.events:
        time = seconds_of(event.get("time"))
        if time is None:
            continue
        if start_time is not None and (end := _end(event, name)):
            own = event.get("seconds") if end == "finished" else None
            spent = own if isinstance(own, int | float) else (last if end == "killed" else time)
            yield Part(float(spent) if own is not None else spent - start_time, end, first)
            start_time = None
        if _is(event, "stage_started", name):
            start_time, first, is_first = time, 0, True
        elif start_time is not None:
            if is_first and _is(event, "stage_resumed", name):
                first = int(event.get("step") or 0)
            is_first = False
        last = time
    if start_time is not None:
        yield Part(last - start_time, "running" if run.is_running else "killed", first)


def _end(event: dict[str, Any], name: str) -> str:
    """How this event ends an attempt at the stage; "" where it does not."""
    if _is(event, "stage_finished", name):
        return "finished"
    if _is(event, "run_started") or _is(event, "stage_started"):
        return "killed"
    return next((end for kind, end in _ENDS.items() if _is(event, kind)), "")


def _engines(events: list[dict[str, Any]]) -> float:
    """Seconds from the start of each attempt until its engines were up."""
    spent, start_time = 0.0, None
    for event in events:
        time = seconds_of(event.get("time"))
        if _is(event, "run_started"):
            start_time = time
        elif _is(event, "engines_up") and start_time is not None and time is not None:
            spent, start_time = spent + time - start_time, None
    return spent


def _redone(event: dict[str, Any]) -> Redone:
    def value(key: str) -> float:
        found = event.get(key)
        return float(found) if isinstance(found, int | float) else 0.0

    return Redone(
        int(value("steps")),
        value("time/step_s"),
        value("tokens/trained"),
        value("tokens/forward"),
        value("tokens/generated"),
    )


def _is(event: dict[str, Any], kind: str, stage: str | None = None) -> bool:
    """Whether an event is of this kind (and of this stage)."""
    return event.get("event") == kind and (stage is None or event.get("stage") == stage)


def _and(value: float | None, more: float) -> float | None:
    return more or None if value is None else float(value) + more


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
