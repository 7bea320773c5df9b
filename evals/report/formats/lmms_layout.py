"""A stage's results in the layout of a results file of lmms-eval.

Source: EvolvingLMMs-Lab/lmms-eval, lmms_eval/evaluator.py (`simple_evaluate`, `evaluate`) and
lmms_eval/loggers/evaluation_tracker.py; task names and metrics: lmms_eval/tasks/<task>/<task>.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from evals.benchmarks.mme import COGNITION, PERCEPTION
from evals.report.facts.rows import Row
from evals.report.facts.stored import judge_of
from evals.report.run import Run, Stage, read_lines
from evals.scoring.samples import score_rows
from rl.errors import PlumblineError

# lmms-eval's name of a task, and its metrics: theirs <- (our key in `metrics`, factor). A benchmark
# that is not here keeps its own id and statistic.
_TASKS: dict[str, tuple[str, dict[str, tuple[str, float]]]] = {
    "mme": (
        "mme",
        {"mme_perception_score": ("perception", 1), "mme_cognition_score": ("cognition", 1)},
    ),
    "textvqa": ("textvqa_val", {"exact_match": ("accuracy", 1)}),
    "vqav2": ("vqav2_val", {"exact_match": ("accuracy", 1)}),
    "gqa": ("gqa", {"exact_match": ("accuracy", 1)}),
    "pope": (
        "pope",
        {
            "pope_accuracy": ("accuracy", 1),
            "pope_precision": ("precision", 1),
            "pope_recall": ("recall", 1),
            "pope_f1_score": ("f1", 1),
            "pope_yes_ratio": ("yes_ratio", 1),
        },
    ),
    "chartqa": (
        "chartqa",
        {
            "relaxed_overall": ("accuracy", 1),
            "relaxed_human_split": ("human", 1),
            "relaxed_augmented_split": ("augmented", 1),
        },
    ),
    "docvqa": ("docvqa_val", {"anls": ("anls", 1)}),
    "infovqa": ("infovqa_val", {"anls": ("anls", 1)}),
    "ocrbench": ("ocrbench", {"ocrbench_accuracy": ("total", 0.001)}),
    "mmmu": ("mmmu_val", {"mmmu_acc": ("accuracy", 1)}),
}
# MME's two scores are sums over these categories.
_SUMS = {"perception": PERCEPTION, "cognition": COGNITION}


@dataclass(frozen=True)
class Task:
    """One benchmark under its name in lmms-eval, with its figures by that tool's rule where it has
    one (the `lmms_eval` profile, scored again from the stored answers).
    """

    name: str
    row: Row
    profile: str
    metrics: dict[str, Any]
    stderr: Any
    asked: int
    num_shots: int

    @property
    def result(self) -> dict[str, Any]:
        """The task's entry under `results`: each metric, with its standard error where it is a
        mean.
        """
        out: dict[str, Any] = {"alias": self.name}
        for name, value in self.metrics.items():
            is_mean = value is not None and value == self.row.accuracy
            out[f"{name},none"] = value
            out[f"{name}_stderr,none"] = self.stderr if is_mean else "N/A"
        return out

    @property
    def config(self) -> dict[str, Any]:
        """The task's entry under `configs`."""
        settings = self.row.settings
        metadata = {"version": self.row.version, "profile": self.profile, "part": self.row.part}
        return {
            "task": self.name,
            "dataset_path": settings.get("data_path"),
            "output_type": "generate_until",
            "num_fewshot": self.num_shots,
            "metric_list": [{"metric": name, "aggregation": "mean"} for name in self.metrics],
            "generation_kwargs": {
                "max_new_tokens": settings.get("max_new_tokens"),
                "temperature": settings.get("temperature"),
                "do_sample": bool(settings.get("temperature")),
            },
            "metadata": metadata,
        }


def results_file(run: Run, stage: Stage, rows: list[Row]) -> dict[str, Any]:
    """The whole file. `configs` say which program's rule the figures are by."""
    tasks = [_task(run, stage, row) for row in rows]
    return {
        "results": {task.name: task.result for task in tasks},
        "group_subtasks": {task.name: [] for task in tasks},
        "configs": {task.name: task.config for task in tasks},
        "versions": {task.name: task.row.version for task in tasks},
        "n-shot": {task.name: task.num_shots for task in tasks},
        "higher_is_better": {
            task.name: {name: not name.endswith("yes_ratio") or None for name in task.metrics}
            for task in tasks
        },
        "n-samples": {
            task.name: {"original": task.asked, "effective": task.row.n} for task in tasks
        },
        "config": _config(run, stage, rows[0]),
        "git_hash": run.env.get("commit"),
        "date": _date(run, stage),
        "task_hashes": {
            task.name: str(task.row.settings.get("data_fingerprint") or "") for task in tasks
        },
        **_tracked(run, stage, rows[0]),
    }


def _task(run: Run, stage: Stage, row: Row) -> Task:
    result = stage.results[row.benchmark]
    name, names = _TASKS.get(row.benchmark, (row.benchmark, {}))
    answers = run.root / "evals" / stage.name / row.benchmark / "responses.jsonl"
    rows = [given for given in read_lines(answers) if given.get("part") == row.part]
    metrics, profile = _metrics(run, stage, row, rows)
    written = {
        theirs: factor * value
        for theirs, (key, factor) in names.items()
        if (value := metrics.get(key)) is not None and _was_asked(key, metrics)
    }
    stderr = result.part.stderr_clustered
    return Task(
        name,
        row,
        profile,
        written or {row.metric: row.value},
        "N/A" if stderr is None else stderr,
        sum(part.n for part in result.parts.values()),
        _num_shots(rows),
    )


def _was_asked(key: str, metrics: Mapping[str, Any]) -> bool:
    """Whether any question of a part was asked. That tool leaves a part without questions out of
    its results; a sum over no category would be 0.0.
    """
    categories = metrics.get("categories")
    if key not in _SUMS or not isinstance(categories, Mapping):
        return True
    return any(name in categories for name in _SUMS[key])


def _num_shots(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many worked examples were in front of a question: the largest number, as that tool states
    it.
    """
    found = [given.get("num_shots") for given in rows]
    return max((number for number in found if isinstance(number, int)), default=0)


def _config(run: Run, stage: Stage, row: Row) -> dict[str, Any]:
    """How it was run; null where a key of that tool has no meaning here."""
    seed = row.settings.get("seed")
    return {
        "model": "plumbline",
        "model_args": f"pretrained={_model(run, stage)},weights={row.weights}",
        "batch_size": None,
        "batch_sizes": [],
        "device": None,
        "use_cache": None,
        "limit": None,
        "bootstrap_iters": None,
        "gen_kwargs": "",
        "random_seed": seed,
        "numpy_seed": seed,
        "torch_seed": seed,
        "fewshot_seed": seed,
    }


def _tracked(run: Run, stage: Stage, row: Row) -> dict[str, Any]:
    """The keys that the tracker of that tool adds: model, templates, time."""
    seconds = sum(result.cost.seconds or 0.0 for result in stage.results.values())
    model = _model(run, stage)
    return {
        "model_source": "plumbline",
        "model_name": model,
        "model_name_sanitized": re.sub(r"[\"<>:/|\\?*\[\]]+", "__", model),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": False,
        "chat_template": None,
        "chat_template_sha": stage.results[row.benchmark].settings.get("chat_template"),
        "start_time": None,
        "end_time": None,
        "total_evaluation_time_seconds": str(seconds),
    }


def _metrics(
    run: Run, stage: Stage, row: Row, rows: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], str]:
    """The benchmark's metrics by lmms-eval's rule, and the profile that gave them."""
    judge = judge_of(run, row.benchmark)
    kept = stage.results[row.benchmark].part.metrics
    if judge is None or "lmms_eval" not in judge.profiles or row.profile == "lmms_eval":
        return kept, row.profile
    try:
        return score_rows(judge, rows, "lmms_eval").metrics(judge, "lmms_eval"), "lmms_eval"
    except (PlumblineError, KeyError):
        return kept, row.profile


def _model(run: Run, stage: Stage) -> str:
    """The stage's checkpoint, else a name made of run and stage."""
    return str(stage.facts.get("checkpoint") or f"{run.name}-{stage.name}")


def _date(run: Run, stage: Stage) -> str:
    """When the stage was evaluated, as that tool writes it (in UTC); else when the run started."""
    found = [
        event.get("time")
        for event in run.events
        if event.get("event") == "evaluated" and event.get("stage") == stage.name
    ]
    times = [float(time) for time in found if isinstance(time, int | float)]
    seconds = times[-1] if times else run.started or 0.0
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d_%H%M%S")
