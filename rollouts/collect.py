"""Prompts -> scored groups, the step's sampling metrics, and the parquet file that keeps them."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl.core import Image, Progress, Rollout, Sample, Sampler, Sampling, Score, Scorer
from rollouts.base import require_whole_distribution

Group = tuple[Rollout, tuple[Score, ...]]


def collect(
    sampler: Sampler,
    scorer: Scorer,
    samples: Sequence[Sample],
    sampling: Sampling,
    progress: Progress | None = None,
) -> tuple[list[Group], dict[str, float]]:
    """Samples a group for every prompt and scores it: for training, so the whole distribution.
    Rewards may ask for the stage's `progress`.

    Raises: ConfigError where `sampling` cannot be trained on.
    """
    require_whole_distribution(sampling)
    started = time.perf_counter()
    rollouts = sampler.sample(samples, sampling)
    sampled = time.perf_counter()
    scores = scorer.score([_marked(rollout, progress) for rollout in rollouts])
    scored = time.perf_counter()
    groups = list(zip(rollouts, scores, strict=True))
    metrics = group_metrics(groups)
    metrics["time/generate_s"] = sampled - started
    metrics["time/reward_s"] = scored - sampled
    return groups, metrics


def _marked(rollout: Rollout, progress: Progress | None) -> Rollout:
    if progress is None:
        return rollout
    completions = tuple(replace(c, progress=progress) for c in rollout.completions)
    return replace(rollout, completions=completions)


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Metrics of sampled and scored groups: of their rewards, and of the lengths of their answers.
    Means are over scored answers only. Shares of groups and answers (`frac_*`) are defined here and
    nowhere else.

    groups: a rollout with the scores of its completions, each.
    """
    completions = [c for rollout, _ in groups for c in rollout.completions]
    scores = [score for _, of_group in groups for score in of_group]
    if not completions:
        return {}
    values = [score.value for score in scores if score.value is not None]
    lengths = [len(completion.token_ids) for completion in completions]
    metrics = {
        "frac_zero_std": _share([_is_flat(of_group) for _, of_group in groups]),
        "frac_truncated": _share([completion.is_truncated for completion in completions]),
        "frac_unscored": _share([score.value is None for score in scores]),
        "frac_error": _share([score.status == "error" for score in scores]),
        "completion/mean": statistics.fmean(lengths),
        "completion/min": float(min(lengths)),
        "completion/max": float(max(lengths)),
        "tokens/generated": float(sum(lengths)),
    }
    if values:
        metrics["reward"] = statistics.fmean(values)
        metrics["reward/std"] = statistics.pstdev(values)
    return metrics | _by_reward(scores)


def _by_reward(scores: Sequence[Score]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name in dict.fromkeys(name for score in scores for name in score.components):
        found = [score.components[name] for score in scores if name in score.components]
        values = [value for value in found if value is not None]
        if values:
            metrics[f"reward/{name}/mean"] = statistics.fmean(values)
        metrics[f"reward/{name}/unscored"] = 1.0 - len(values) / len(found)
    return metrics


def _is_flat(scores: Sequence[Score]) -> bool:
    """Whether a group teaches nothing: at most one of its answers is scored, or all that are scored
    have the same reward."""
    return len({score.value for score in scores if score.value is not None}) < 2


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def rollouts_path(stage_folder: Path, step: int) -> Path:
    """`rollouts/step-000012.parquet` of a stage."""
    return stage_folder / "rollouts" / f"step-{step:06d}.parquet"


def write_rollouts(path: Path, groups: Sequence[Group]) -> None:
    """One row a completion: what was asked, answered and how it was scored. Whole or not at all."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [
        _row(rollout, index, score)
        for rollout, scores in groups
        for index, score in enumerate(scores)
    ]
    ids, logps = pa.list_(pa.int32()), pa.list_(pa.float32())
    schema = pa.schema(
        [
            ("uid", pa.string()),
            ("index", pa.int32()),
            ("prompt", pa.string()),
            ("prompt_token_ids", ids),
            ("completion", pa.string()),
            ("token_ids", ids),
            ("behavior_logps", logps),
            ("finish_reason", pa.string()),
            ("weight_versions", ids),
            ("reward", pa.float64()),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("components", pa.string()),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), partial, compression="zstd")
    os.replace(partial, path)


def read_rollouts(path: Path) -> list[dict[str, Any]]:
    """The rows of `write_rollouts`; `components` as a mapping."""
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return [{**row, "components": json.loads(row["components"])} for row in rows]


def _row(rollout: Rollout, index: int, score: Score) -> Mapping[str, Any]:
    completion = rollout.completions[index]
    return {
        "uid": rollout.sample.uid,
        "index": index,
        "prompt": _shown(rollout.sample),
        "prompt_token_ids": rollout.prompt_token_ids,
        "completion": completion.text,
        "token_ids": completion.token_ids,
        "behavior_logps": completion.behavior_logps,
        "finish_reason": completion.finish_reason,
        "weight_versions": completion.weight_versions,
        "reward": score.value,
        "status": score.status,
        "reason": score.reason,
        "components": json.dumps(dict(score.components)),
    }


def _shown(sample: Sample) -> str:
    turns = (
        "".join("<image>" if isinstance(part, Image) else part.text for part in message.parts)
        for message in sample.messages
    )
    return "\n".join(turns)
