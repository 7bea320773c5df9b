"""The leaderboard in other tools' files: a model card's `model-index`, and lmms-eval's results."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.report import leaderboard
from evals.report.browser import slug, write_text
from evals.report.leaderboard import Row
from evals.report.rules import judge_of
from evals.report.run import Run, Stage, read_lines, read_run
from evals.samples import score_rows
from rl.errors import ConfigError, PlumblineError

FORMATS = ("hf", "lmms-eval")

# lmms-eval's name of a task, and its metrics: theirs <- (our key in `metrics`, factor). A benchmark
# that is not here keeps its own id and statistic.
# Source: lmms_eval/tasks/<task>/<task>.yaml of EvolvingLMMs-Lab/lmms-eval.
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


def write_format(root: Path, name: str) -> list[Path]:
    """Writes the report in another tool's format, a file a stage; returns their paths.

    Raises: ConfigError for an unknown format, EvalError where the folder is no run.
    """
    if name not in FORMATS:
        raise ConfigError(
            f'no format called "{name}"',
            expected=" | ".join(FORMATS),
            do="choose one of these",
        )
    run = read_run(root)
    rows = leaderboard.rows(run)
    written = []
    for stage in run.scored:
        mine = [row for row in rows if row.stage == stage.name and row.value is not None]
        if not mine:
            continue
        if name == "hf":
            path = root / "report" / "hf" / f"{slug(stage.name)}.md"
            text = f"---\n{model_index(run, stage, mine)}\n---\n"
        else:
            found = lmms_eval(run, stage, mine)
            date = datetime.fromtimestamp(found["date"], UTC).strftime("%Y%m%d_%H%M%S")
            folder = root / "report" / "lmms-eval" / slug(stage.name)
            path = folder / f"{date}_results.json"
            text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        written.append(path)
    return written


def model_index(run: Run, stage: Stage, rows: list[Row]) -> str:
    """The `model-index` block of a stage's model card, as YAML. A data set is named by its hub id
    only where the questions came from there.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    for row in rows:
        hub_id, split = _hub(run, row)
        args = {"part": row.part, "questions": row.n, "images": row.images, "errors": row.errors}
        told: dict[str, Any] = {"profile": row.profile, "version": row.version, "max": row.max}
        if row.interval:
            told["interval_95"] = [float(end) for end in row.interval]
        if row.contamination != "clean":
            told["training_rows_in_benchmark"] = row.contamination
        results.append(
            EvalResult(
                task_type="image-text-to-text",
                dataset_type=hub_id or row.benchmark,
                dataset_name=row.benchmark,
                dataset_split=split,
                dataset_revision=_text(row.settings.get("data_revision")),
                dataset_args={**args, "fingerprint": row.settings.get("data_fingerprint")},
                metric_type=row.metric,
                metric_name=row.metric,
                metric_value=row.value,
                metric_args=told,
            )
        )
    card = ModelCardData(model_name=f"{run.name}-{stage.name}", eval_results=results)
    return str(card.to_yaml()).strip()


def _hub(run: Run, row: Row) -> tuple[str | None, str | None]:
    """Hub id and split where the data's path names them."""
    judge = judge_of(run, row.benchmark)
    path = str(row.settings.get("data_path") or "")
    for hub_id, hub in (judge.hub_ids if judge else {}).items():
        if hub_id in path:
            return hub_id, hub.split
    return None, None


def lmms_eval(run: Run, stage: Stage, rows: list[Row]) -> dict[str, Any]:
    """A results file in lmms-eval's layout. Figures are by its own rule (the `lmms_eval` profile,
    scored again from the stored answers) where the benchmark has it; `configs` says which.
    """
    tasks = {row.benchmark: _TASKS.get(row.benchmark, (row.benchmark, {})) for row in rows}
    results: dict[str, Any] = {}
    configs: dict[str, Any] = {}
    higher: dict[str, Any] = {}
    hashes: dict[str, str] = {}
    for row in rows:
        task, names = tasks[row.benchmark]
        metrics, profile = _metrics(run, stage, row)
        told = {n: f * metrics[k] for n, (k, f) in names.items() if k in metrics}
        told = told or {row.metric: row.value}
        results[task] = {"alias": task}
        for name, value in told.items():
            results[task][f"{name},none"] = value
            is_mean = value is not None and value == row.accuracy
            results[task][f"{name}_stderr,none"] = _stderr(stage, row) if is_mean else "N/A"
        higher[task] = {name: not name.endswith("yes_ratio") or None for name in told}
        configs[task] = {
            "task": task,
            "dataset_path": row.settings.get("data_path"),
            "output_type": "generate_until",
            "num_fewshot": 0,
            "metric_list": [{"metric": name, "aggregation": "mean"} for name in told],
            "generation_kwargs": {
                "max_new_tokens": row.settings.get("max_new_tokens"),
                "temperature": row.settings.get("temperature"),
                "do_sample": bool(row.settings.get("temperature")),
            },
            "metadata": {"version": row.version, "profile": profile, "part": row.part},
        }
        hashes[task] = str(row.settings.get("data_fingerprint") or "")
    seconds = sum(result.cost.seconds or 0.0 for result in stage.results.values())
    template = stage.results[rows[0].benchmark].settings.get("chat_template")
    names_ = {row.benchmark: tasks[row.benchmark][0] for row in rows}
    return {
        "results": results,
        "group_subtasks": {task: [] for task in results},
        "configs": configs,
        "versions": {names_[row.benchmark]: row.version for row in rows},
        "n-shot": dict.fromkeys(results, 0),
        "higher_is_better": higher,
        "n-samples": {
            names_[row.benchmark]: {"original": _asked(stage, row), "effective": row.n}
            for row in rows
        },
        "config": {
            "model": "plumbline",
            "model_args": f"pretrained={_model(run, stage)},weights={rows[0].weights}",
            "batch_size": None,
            "limit": None,
            "gen_kwargs": "",
            "random_seed": rows[0].settings.get("seed"),
        },
        "git_hash": run.env.get("commit"),
        "date": _date(run, stage),
        "task_hashes": hashes,
        "model_source": "plumbline",
        "model_name": _model(run, stage),
        "model_name_sanitized": slug(stage.name),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": False,
        "chat_template": None,
        "chat_template_sha": template,
        "total_evaluation_time_seconds": str(seconds),
    }


def _metrics(run: Run, stage: Stage, row: Row) -> tuple[dict[str, Any], str]:
    """The benchmark's metrics by lmms-eval's rule, and the profile that gave them."""
    judge = judge_of(run, row.benchmark)
    kept = stage.results[row.benchmark].part.metrics
    if judge is None or "lmms_eval" not in judge.profiles or row.profile == "lmms_eval":
        return kept, row.profile
    answers = run.root / "evals" / stage.name / row.benchmark / "responses.jsonl"
    rows = [given for given in read_lines(answers) if given.get("part") == row.part]
    try:
        return score_rows(judge, rows, "lmms_eval").metrics(judge, "lmms_eval"), "lmms_eval"
    except (PlumblineError, KeyError):
        return kept, row.profile


def _stderr(stage: Stage, row: Row) -> Any:
    value = stage.results[row.benchmark].part.stderr_clustered
    return "N/A" if value is None else value


def _asked(stage: Stage, row: Row) -> int:
    return sum(part.n for part in stage.results[row.benchmark].parts.values())


def _model(run: Run, stage: Stage) -> str:
    """The stage's checkpoint, else a name that says whose it is."""
    return str(stage.facts.get("checkpoint") or f"{run.name}-{stage.name}")


def _date(run: Run, stage: Stage) -> float:
    """When the stage was evaluated, in seconds since the epoch; else when the run began."""
    found = [
        event.get("time")
        for event in run.events
        if event.get("event") == "evaluated" and event.get("stage") == stage.name
    ]
    times = [float(time) for time in found if isinstance(time, int | float)]
    return times[-1] if times else run.started or 0.0


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
