"""A stage's results as the `model-index` block of a model card.

Source: the hub's specification, huggingface/hub-docs modelcard.md; written by huggingface_hub.
"""

from __future__ import annotations

from typing import Any

from evals.report.leaderboard import Row
from evals.report.rules import judge_of
from evals.report.run import Run, Stage


def model_index(run: Run, stage: Stage, rows: list[Row]) -> str:
    """The block as YAML. A data set is named by its hub id only where the questions came from
    there.
    """
    from huggingface_hub import ModelCardData

    results = [_result(run, row) for row in rows]
    card = ModelCardData(model_name=f"{run.name}-{stage.name}", eval_results=results)
    return str(card.to_yaml()).strip()


def _result(run: Run, row: Row) -> Any:
    """One benchmark's entry: what the specification requires, and what a reader needs beside it."""
    from huggingface_hub import EvalResult

    hub_id, config, split = _hub(run, row)
    judge = judge_of(run, row.benchmark)
    is_text = judge is not None and not judge.image_columns
    revision = row.settings.get("data_revision")
    return EvalResult(
        task_type="text-generation" if is_text else "image-text-to-text",
        dataset_type=hub_id or row.benchmark,
        dataset_name=row.benchmark,
        dataset_config=config,
        dataset_split=split,
        dataset_revision=None if revision is None else str(revision),
        dataset_args={
            "part": row.part,
            "questions": row.n,
            "images": row.images,
            "errors": row.errors,
            "fingerprint": row.settings.get("data_fingerprint"),
        },
        metric_type=row.metric,
        metric_name=row.metric,
        metric_value=row.value,
        metric_args=_told(row),
    )


def _told(row: Row) -> dict[str, Any]:
    """How the figure was made and how sure it is."""
    told: dict[str, Any] = {"profile": row.profile, "version": row.version, "max": row.max}
    if row.interval:
        told["interval_95"] = [float(end) for end in row.interval]
    if row.contamination != "clean":
        told["training_rows_in_benchmark"] = row.contamination
    return told


def _hub(run: Run, row: Row) -> tuple[str | None, str | None, str | None]:
    """Hub id, configuration (where there is one) and split, where the data's path names them."""
    judge = judge_of(run, row.benchmark)
    path = str(row.settings.get("data_path") or "")
    for hub_id, hub in (judge.hub_ids if judge else {}).items():
        if hub_id in path:
            return hub_id, hub.configs[0] if len(hub.configs) == 1 else None, hub.split
    return None, None, None
