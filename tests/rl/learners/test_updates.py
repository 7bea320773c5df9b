"""How a step is split into mini-batches, and what the driver does with several updates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rl.algorithms.grpo import GRPO
from rl.data.tree import Branch, Tree
from rl.learners.base import SamplingDistribution
from rl.learners.group import LearnerGroup
from rl.learners.updates import Part, Prepared, Updates, run_step, split, step_metrics
from rl.runs.metrics import describe
from rl.runtime.actors import LocalHandle

UIDS = st.lists(st.text("abc0", min_size=1, max_size=3), max_size=20)


def tree(uid: str) -> Tree:
    return Tree(uid=uid, trunk_ids=(1, 2), branches=(Branch(uid=f"{uid}/0", token_ids=(7,)),))


@given(uids=UIDS, minibatches=st.integers(1, 6), passes=st.integers(1, 3))
def test_a_pass_learns_from_every_group_once(
    uids: list[str], minibatches: int, passes: int
) -> None:
    parts = split(uids, Updates(minibatches=minibatches, passes=passes), "0/1")
    groups = set(uids)
    filled = min(minibatches, len(groups))  # no mini-batch is empty
    assert len(parts) == filled * passes
    for start in range(0, len(parts), max(1, filled)):
        one_pass = [part.uids or frozenset() for part in parts[start : start + filled]]
        assert Counter(uid for part in one_pass for uid in part) == Counter(groups)
        sizes = [len(part) for part in one_pass]
        assert max(sizes) - min(sizes) <= 1


@given(uids=UIDS, seed=st.integers(0, 3), data=st.data())
def test_the_order_of_the_groups_has_no_influence(
    uids: list[str], seed: int, data: st.DataObject
) -> None:
    """So one rank and several make the same mini-batches."""
    updates = Updates(minibatches=3, passes=2)
    other = data.draw(st.permutations(uids))
    assert split(other, updates, f"{seed}/1") == split(uids, updates, f"{seed}/1")


def test_passes_steps_and_runs_are_split_differently() -> None:
    uids, updates = [str(number) for number in range(20)], Updates(minibatches=2, passes=2)
    parts = [split(uids, updates, seed) for seed in ("0/1", "0/2", "1/1")]
    assert len({part for of_step in parts for part in of_step}) == 12


def test_answers_to_one_prompt_stay_together() -> None:
    """A prompt that a step holds twice is two trees of one uid."""
    trees = [tree(uid) for uid in "abcab"]
    parts = split([t.uid for t in trees], Updates(minibatches=3), "0/1")
    assert sorted(len(part.of(trees)) for part in parts) == [1, 2, 2]
    assert Part().of(trees) == trees


@pytest.mark.parametrize("key", ["minibatches", "passes"])
def test_at_least_one_of_each(key: str) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Updates(**{key: 0})


class Recorder:
    """A rank that drops the groups of `dropped` and records its calls."""

    def __init__(self, all_uids: Sequence[str], dropped: Sequence[str] = ()) -> None:
        self.all_uids, self.dropped = all_uids, dropped
        self.calls: list[Any] = []

    def prepare(self, trees: Sequence[Tree], *_: Any, needs_old_logps: bool = False) -> Prepared:
        self.calls.append(("prepare", [tree.uid for tree in trees], needs_old_logps))
        uids = tuple(uid for uid in self.all_uids if uid not in self.dropped)
        return Prepared(number=1, uids=uids, seconds=1.0)

    def update(self, prepared: Prepared, part: Part) -> Mapping[str, float]:
        self.calls.append(("update", prepared.number, part.uids))
        trained = len(prepared.uids if part.uids is None else part.uids)
        row = {"lr": 1 / len(self.calls), "tokens/trained": float(trained), "time/reference_s": 0.5}
        return row | ({"loss": 1.0, "clip_frac": 0.5} if trained else {"loss": 0.0})

    def step(self, trees: Sequence[Tree], *_: Any) -> Mapping[str, float]:
        self.calls.append(("step", [tree.uid for tree in trees]))
        return {"loss": 1.0}


def run(recorder: Recorder, uids: str, updates: Updates) -> Mapping[str, float]:
    return run_step(
        recorder,  # type: ignore[arg-type]
        [tree(uid) for uid in uids],
        GRPO(),
        SamplingDistribution(),
        updates=updates,
        seed="0/1",
    )


def test_one_update_needs_no_old_log_probs() -> None:
    recorder = Recorder("abc")
    metrics = run(recorder, "abc", Updates())
    assert recorder.calls == [
        ("prepare", list("abc"), False),
        ("update", 1, frozenset("abc")),
    ]
    assert "updates" not in metrics
    assert metrics["time/reference_s"] == 1.5


def test_groups_that_were_dropped_are_in_no_mini_batch() -> None:
    recorder = Recorder("abcde", dropped="be")
    metrics = run(recorder, "abcde", Updates(minibatches=4, passes=2))
    assert recorder.calls[0] == ("prepare", list("abcde"), True)
    parts = [uids for _, _, uids in recorder.calls[1:]]
    assert [len(part) for part in parts] == [1] * 6  # the fourth mini-batch is empty: no update
    assert Counter(uid for part in parts for uid in part) == {"a": 2, "c": 2, "d": 2}
    assert metrics["updates"] == 6
    assert metrics["lr"] == pytest.approx(1 / 7)  # of the last update
    assert metrics["tokens/trained"] == 6
    assert (metrics["loss"], metrics["clip_frac"]) == (1.0, 0.5)
    assert metrics["time/reference_s"] == 1.0 + 6 * 0.5


def test_a_step_of_dropped_groups_is_reported_and_changes_nothing() -> None:
    recorder = Recorder("ab", dropped="ab")
    metrics = run(recorder, "ab", Updates(passes=2))
    assert recorder.calls[1:] == [("update", 1, None)]
    assert (metrics["updates"], metrics["loss"]) == (0, 0)


def test_metrics_of_an_update_that_changed_nothing_stay_out_of_the_means() -> None:
    rows = [
        {"loss": 2.0, "lr": 0.1, "tokens/trained": 5.0, "time/reference_s": 0.0},
        {"loss": 0.0, "lr": 0.0, "tokens/trained": 0.0, "time/reference_s": 1.0},
    ]
    prepared = Prepared(number=1, uids=("a",), metrics={"kl": 0.25})
    found = step_metrics(prepared, rows, Updates(minibatches=2))
    assert found == {
        "loss": 2.0,
        "lr": 0.1,
        "tokens/trained": 5.0,
        "time/reference_s": 1.0,
        "kl": 0.25,
        "updates": 1.0,
    }
    assert describe("updates")


def test_the_driver_sends_trees_once_and_parts_afterwards() -> None:
    """Each rank prepares its own share. Every rank gets every part: it may have groups of it."""
    ranks = [Recorder("abcd"), Recorder("abcd")]
    group = LearnerGroup(
        [LocalHandle(f"learner-{i}", rank) for i, rank in enumerate(ranks)], deadline_s=1
    )
    trees = [tree(uid) for uid in "abcd"]
    updates = Updates(minibatches=2, passes=2)
    metrics = group.step(trees, GRPO(), SamplingDistribution(), updates=updates, seed="0/1")
    shares = [rank.calls[0][1] for rank in ranks]
    assert sorted(shares[0] + shares[1]) == list("abcd")
    assert ranks[0].calls[1:] == ranks[1].calls[1:]
    assert [uids for _, _, uids in ranks[0].calls[1:]] == [
        part.uids for part in split("abcd", updates, "0/1")
    ]
    assert metrics["updates"] == 4


def test_a_step_of_one_update_is_one_call() -> None:
    rank = Recorder("ab")
    group = LearnerGroup([LocalHandle("learner-0", rank)], deadline_s=1)
    group.step([tree("a")], GRPO(), SamplingDistribution(), seed="0/1")
    assert rank.calls == [("step", ["a"])]
