from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rl.algorithms.rehearsal import metrics_of_a_step
from rl.core import (
    Completion,
    Image,
    ImageSource,
    Message,
    Progress,
    Rollout,
    Sample,
    Sampling,
    Score,
    Text,
)
from rl.errors import ConfigError
from rl.plugins import find, names
from rollouts.collect import collect, group_metrics, read_rollouts, rollouts_path, write_rollouts

SAMPLE = Sample(
    "u1", (Message("user", (Image(0), Text("What color?"))),), (ImageSource(data=b"x"),), ("red",)
)


def _rollout(lengths: Sequence[int], truncated: Sequence[int] = ()) -> Rollout:
    completions = tuple(
        Completion(
            tuple(range(5, 5 + length)),
            tuple(-0.125 * (i + 1) for i in range(length)),
            f"answer {number}",
            "length" if number in truncated else "stop",
            (3,) * length,
        )
        for number, length in enumerate(lengths)
    )
    return Rollout(SAMPLE, (1, 9, 9, 2), completions)


def _score(value: float | None, status: str = "ok") -> Score:
    return Score(value, status, components={"exact": value})  # type: ignore[arg-type]


class Fixed:
    def sample(self, samples: Sequence[Sample], sampling: Sampling) -> list[Rollout]:
        return [_rollout([2, 4], truncated=[1]) for _ in samples]

    def score(self, rollouts: Sequence[Rollout]) -> list[tuple[Score, ...]]:
        return [(_score(1.0), _score(0.0)), (_score(1.0), _score(1.0))][: len(rollouts)]


def test_groups_and_metrics() -> None:
    groups, metrics = collect(Fixed(), Fixed(), [SAMPLE, SAMPLE], Sampling(n=2))
    assert [len(scores) for _, scores in groups] == [2, 2]
    expected = {
        "reward": 0.75,
        "reward/exact/mean": 0.75,
        "reward/exact/unscored": 0.0,
        "frac_zero_std": 0.5,
        "frac_truncated": 0.5,
        "frac_unscored": 0.0,
        "frac_error": 0.0,
        "completion/mean": 3.0,
        "completion/min": 2.0,
        "completion/max": 4.0,
        "tokens/generated": 12.0,
    }
    assert {key: metrics[key] for key in expected} == expected
    assert {"time/generate_s", "time/reward_s"} <= metrics.keys()


def test_rewards_see_the_progress_and_groups_do_not_keep_it() -> None:
    seen = []

    class Watching(Fixed):
        def score(self, rollouts: Sequence[Rollout]) -> list[tuple[Score, ...]]:
            seen.extend(c.progress for rollout in rollouts for c in rollout.completions)
            return super().score(rollouts)

    progress = Progress(3, 8, 0.5)
    groups, _ = collect(Fixed(), Watching(), [SAMPLE], Sampling(n=2), progress)
    assert seen == [progress, progress]
    assert groups[0][0] == _rollout([2, 4], truncated=[1])


def test_what_was_not_scored_stands_outside_the_mean() -> None:
    scores = (_score(1.0), _score(None, "unscored"), _score(None, "error"))
    metrics = group_metrics([(_rollout([1, 1, 1]), scores)])
    assert metrics["reward"] == 1.0
    assert metrics["frac_unscored"] == pytest.approx(2 / 3)
    assert metrics["frac_error"] == pytest.approx(1 / 3)
    assert metrics["frac_zero_std"] == 1.0
    assert metrics["reward/exact/unscored"] == pytest.approx(2 / 3)


def test_the_shares_of_groups_and_answers_have_one_definition() -> None:
    """Equal rewards, and a single scored answer, teach nothing."""
    scores = [(1.0, 0.0), (1.0, 1.0), (0.5, None)]
    groups = [
        (
            _rollout([3, 3], truncated=cut),
            tuple(_score(v, "ok" if v is not None else "unscored") for v in values),
        )
        for values, cut in zip(scores, ([1], [], []), strict=True)
    ]
    metrics = group_metrics(groups)
    assert metrics["frac_zero_std"] == 2 / 3
    assert metrics["frac_truncated"] == 1 / 6
    assert metrics["frac_unscored"] == 1 / 6


@pytest.mark.parametrize("name", names("rl.algorithms"))
def test_no_algorithm_reports_what_the_sampled_groups_say(name: str) -> None:
    """One of the two would overwrite the other in the step's metrics."""
    algorithm = find("rl.algorithms", name)()
    ours = group_metrics([(_rollout([1]), (_score(1.0),))])
    assert not set(metrics_of_a_step(algorithm)) & set(ours)


def test_nothing_scored_has_no_mean() -> None:
    assert "reward" not in group_metrics([(_rollout([1]), (_score(None, "error"),))])
    assert group_metrics([]) == {}


def test_training_refuses_a_cut_distribution() -> None:
    with pytest.raises(ConfigError, match="top_p"):
        collect(Fixed(), Fixed(), [SAMPLE], Sampling(top_p=0.9))


def test_a_step_s_rollouts_are_kept_whole(tmp_path: Path) -> None:
    path = rollouts_path(tmp_path, 12)
    assert path.name == "step-000012.parquet"
    rollout = _rollout([2, 3], truncated=[1])
    write_rollouts(path, [(rollout, (_score(1.0), _score(None, "error")))])
    rows = read_rollouts(path)
    assert [row["reward"] for row in rows] == [1.0, None]
    assert [row["status"] for row in rows] == ["ok", "error"]
    for row, completion in zip(rows, rollout.completions, strict=True):
        assert row["prompt"] == "<image>What color?"
        assert tuple(row["prompt_token_ids"]) == rollout.prompt_token_ids
        assert tuple(row["token_ids"]) == completion.token_ids
        assert tuple(row["behavior_logps"]) == completion.behavior_logps
        assert tuple(row["weight_versions"]) == completion.weight_versions
        assert row["completion"] == completion.text
        assert row["finish_reason"] == completion.finish_reason
    assert rows[0]["components"] == {"exact": 1.0}
    assert [file.name for file in path.parent.iterdir()] == [path.name]
