"""What is wrong with an algorithm's hooks or metrics is told before an engine starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel

from recipes.schema.recipe import recipe_of
from rl.algorithms.base import (
    Algorithm,
    Denominators,
    Loss,
    MetricSums,
    Needs,
    Step,
    count_trees,
)
from rl.algorithms.rehearsal import rehearse
from rl.batch import TreeBatch
from rl.errors import ConfigError, DataError
from rl.runs.metrics import METRICS, describe
from tests.rl.algorithms.test_splits import ALGORITHMS, IDS


class Own(Algorithm):
    """An algorithm of a user's own file."""

    name: ClassVar[str] = "own"
    needs: ClassVar[Needs] = Needs("preference", reference=True)
    own_metrics: ClassVar[Mapping[str, str]] = {
        "own/lead": "Mean log-prob of the chosen answers.",
        "own/*/seen": "Answers seen of one kind.",
    }

    def prepare(self, step: Step) -> MetricSums:
        return {"own/step/seen": (len(step.trees), 1)}

    def denominators(self, minibatch: Step) -> Denominators:
        return count_trees(minibatch)

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        assert batch.reference_logp_N is not None  # the loop has cached it before the first step
        chosen_P, _ = batch.by_pair(batch.sum_by_branch(batch.policy_logp_N))
        found = {"own/lead": (float(chosen_P.detach().sum()), 3.0), "own/chosen/seen": (3, 3)}
        return Loss(-chosen_P.sum(), found)


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, Own()], ids=[*IDS, "own"])
def test_what_runs_is_let_through(algorithm: Algorithm) -> None:
    state = torch.random.get_rng_state()
    rehearse(algorithm)
    assert torch.equal(torch.random.get_rng_state(), state)


class Undeclared(Own):
    own_metrics: ClassVar[Mapping[str, str]] = {
        "own/lead": "Mean log-prob of the chosen answers.",
        "own/step/seen": "Trees of the step.",
    }


class Shadowing(Own):
    own_metrics: ClassVar[Mapping[str, str]] = {**Own.own_metrics, "kl": "Something else."}


class Listing(Own):
    own_metrics: ClassVar[Any] = ["own/lead", "own/*/seen"]


class Raising(Own):
    def prepare(self, step: Step) -> MetricSums:
        return {"own/step/seen": (len(step.gone), 1)}  # type: ignore[attr-defined]


class Counting(Own):
    def prepare(self, step: Step) -> Denominators:  # type: ignore[override]
        return count_trees(step)


class Uncounted(Own):
    def denominators(self, minibatch: Step) -> MetricSums:  # type: ignore[override]
        return {}


class Columns(Own):
    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        return Loss(-batch.policy_logp_N)


class Means(Own):
    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        return Loss(-batch.policy_logp_N.sum(), {"entropy": 0.5})  # type: ignore[dict-item]


class Elsewhere(Own):
    needs: ClassVar[Needs] = Needs("pairs")  # type: ignore[arg-type]


class Bare(Algorithm):
    """Neither needs nor loss."""

    name: ClassVar[str] = "own"


class NoLoss(Bare):
    needs: ClassVar[Needs] = Needs("demonstration")


FAULTS: dict[type[Algorithm], str] = {
    Bare: r"^algorithm own: its needs end in NotImplementedError: the class gives no `needs`",
    NoLoss: r"^algorithm own: a made-up step ends in NotImplementedError: .* gives no `loss`",
    Undeclared: r"^algorithm own: metric own/chosen/seen is not declared.*own_metrics",
    Shadowing: r"^algorithm own: own_metrics declares kl, which has a meaning already",
    Listing: r"^algorithm own: own_metrics is no table",
    Raising: r"^algorithm own: a made-up step ends in AttributeError: .*gone",
    Counting: r"^algorithm own: .* prepare\(\) returned Denominators, not a table .* return \{\}",
    Uncounted: r"^algorithm own: .* denominators\(\) returned dict, no Denominators",
    Columns: r"^algorithm own: a made-up step ends in TypeError: loss\(\) returned no Loss",
    Means: r"^algorithm own: metric entropy is 0\.5; expected two numbers",
    Elsewhere: r"^algorithm own: needs\.reading is 'pairs'; expected one of demonstration, ",
}


@pytest.mark.parametrize("cls", FAULTS)
def test_a_fault_is_one_line(cls: type[Algorithm]) -> None:
    with pytest.raises(ConfigError, match=FAULTS[cls]):
        rehearse(cls())


def test_what_an_algorithm_says_of_rows_is_kept_for_real_rows() -> None:
    class Picky(Own):
        def prepare(self, step: Step) -> MetricSums:
            raise DataError("a made-up row is not to its taste")

    rehearse(Picky())


def test_the_page_names_its_line(tmp_path: Any) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from tests.rl.algorithms.test_rehearsal import Undeclared as Theirs\n"
        "class Mine(Theirs):\n    pass\n"
    )
    stage = {"name": "a", "algorithm": f"{file}:Mine", "data": [{"path": "a.jsonl"}], "steps": 1}
    with pytest.raises(ConfigError, match=r"stages\.a.*metric own/chosen/seen is not declared"):
        recipe_of({"model": {"path": "m"}, "stages": [stage]})


def test_own_metrics_are_described_beside_ours() -> None:
    assert describe("own/lead") is None
    assert describe("own/lead", Own.own_metrics) == Own.own_metrics["own/lead"]
    assert describe("own/rejected/seen", Own.own_metrics) == Own.own_metrics["own/*/seen"]
    assert describe("kl", Own.own_metrics) == METRICS["kl"]


class NotDerived(BaseModel):
    name: ClassVar[str] = "not_derived"


def test_a_class_that_is_no_algorithm_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^algorithm not_derived: .*subclass of rl\.algorithms"):
        rehearse(NotDerived())  # type: ignore[arg-type]
