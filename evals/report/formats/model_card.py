"""A stage's results as the `model-index` block of a model card.

Source: the hub's specification, huggingface/hub-docs modelcard.md; written by huggingface_hub.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from evals.data.layout import HubOrigin
from evals.report.facts.rows import Row
from evals.report.facts.stored import judge_of
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
    """One benchmark's entry: the keys that the specification requires, and how the figure
    was made.
    """
    from huggingface_hub import EvalResult

    hub = _hub(run, row)
    judge = judge_of(run, row.benchmark)
    is_text = judge is not None and not judge.image_columns
    return EvalResult(
        task_type="text-generation" if is_text else "image-text-to-text",
        dataset_type=hub.hub_id if hub else row.benchmark,
        dataset_name=row.benchmark,
        dataset_config=hub.config if hub else None,
        dataset_split=hub.split if hub else None,
        dataset_revision=hub.revision if hub else None,
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
        metric_args=_metric_args(row),
    )


def _metric_args(row: Row) -> dict[str, Any]:
    """How the figure was made, and its interval."""
    args: dict[str, Any] = {"profile": row.profile, "version": row.version, "max": row.max}
    if row.interval:
        args["interval_95"] = [float(end) for end in row.interval]
    if not row.is_engine_compared:
        args["engine_compared_with_model"] = False
    if row.contamination != "clean":
        args["training_rows_in_benchmark"] = row.contamination
    return args


class _Hub(NamedTuple):
    """Rows of a hub repository; `config` is None where there are several, or one without a name."""

    hub_id: str
    config: str | None
    split: str
    revision: str


def _hub(run: Run, row: Row) -> _Hub | None:
    """The hub repository that the questions came from. None unless every origin in `data_path` is
    of one repository and revision, and that repository is one of the benchmark's.
    """
    judge = judge_of(run, row.benchmark)
    named = str(row.settings.get("data_path") or "").split(", ")
    found = [origin for text in named if (origin := HubOrigin.parse(text)) is not None]
    places = {(origin.hub_id, origin.revision) for origin in found}
    if judge is None or len(found) != len(named) or len(places) != 1:
        return None
    [(hub_id, revision)] = places
    if hub_id not in judge.hub_ids:
        return None
    config = found[0].config if len(found) == 1 else ""
    return _Hub(hub_id, config or None, judge.hub_ids[hub_id].split, revision)
