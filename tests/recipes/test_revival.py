"""A lost learner is restarted wherever it is used, and the events say so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recipes.engines.training import TrainingEngines
from rl.errors import ActorLostError, DeadlineError, RunError
from rl.learners.group import LearnerGroup

LOST = ActorLostError("the actor died", where="learner-1 in begin_stage")
LATE = DeadlineError("no answer within 9 s", where="learner-0 in step")
OWN = RunError("RuntimeError: connection closed by peer", where="learner-0 in step")


class _Rank:
    """A handle on a rank whose `begin_stage` raises what it is given, or is done."""

    def __init__(self, number: int, error: Exception | None = None, *, lives: bool = True) -> None:
        self.name, self.error, self.lives = f"learner-{number}", error, lives
        self.patience: list[float] = []
        self.is_stopped = False

    def submit(self, method: str, *args: Any, **kwargs: Any) -> "_Rank":
        return self

    def result(self, deadline_s: float) -> None:
        if self.error is not None:
            raise self.error

    def is_alive(self, patience_s: float = 1.0) -> bool:
        self.patience.append(patience_s)
        return self.lives

    def stop(self) -> None:
        self.is_stopped = True


def line(
    *generations: list[_Rank], max_restarts: int = 3
) -> tuple[TrainingEngines, list[dict[str, Any]]]:
    """Engines without actors around these ranks: the first, and those that replace them."""
    events: list[dict[str, Any]] = []
    left = list(generations)
    made = TrainingEngines.__new__(TrainingEngines)

    def publish(folder: Path) -> None:
        events.append({"event": "published"})
        made.holds = folder

    made.recipe = SimpleNamespace(learner=SimpleNamespace(max_restarts=max_restarts))
    made.learner = LearnerGroup(left.pop(0), deadline_s=1)
    made._on_event = lambda event, **facts: events.append({"event": event, **facts})
    made._at, made.holds, made._published = {}, None, {}
    made._is_ending = lambda: False
    made.publish = publish
    made.replace_actors = lambda start: left.pop(0)
    return made, events


def both(error: Exception | None = None, *, lives: bool = True) -> list[_Rank]:
    return [_Rank(0), _Rank(1, error, lives=lives)]


def test_a_learner_lost_in_serve_is_started_anew(tmp_path: Path) -> None:
    first, second = both(LOST, lives=False), both()
    made, events = line(first, second)
    made.serve(tmp_path)
    assert events == [
        {"event": "learner_lost", "ranks": ["learner-1"]},
        {"event": "learner_restarted", "ranks": ["learner-0", "learner-1"]},
        {"event": "published"},
    ]
    assert all(rank.is_stopped for rank in first)
    assert made.learner.ranks == second
    assert made.holds == tmp_path


def test_an_error_of_ranks_that_live_is_raised(tmp_path: Path) -> None:
    made, events = line(both(OWN))
    with pytest.raises(RunError, match="connection closed by peer"):
        made.serve(tmp_path)
    assert events == []
    assert made.holds is None


@pytest.mark.parametrize("error", [OWN, LATE], ids=["own", "deadline"])
def test_a_rank_that_the_error_does_not_name_may_be_the_lost_one(
    tmp_path: Path, error: RunError
) -> None:
    """Rank 0 saw the connection end, or waited for the other in vain."""
    made, events = line([_Rank(0, error), _Rank(1, lives=False)], both())
    made.serve(tmp_path)
    assert [event["event"] for event in events][:1] == ["learner_lost"]
    assert events[0]["ranks"] == ["learner-1"]


def test_after_a_deadline_nobody_waits_again(tmp_path: Path) -> None:
    ranks = both(LATE)
    with pytest.raises(DeadlineError):
        line(ranks)[0].serve(tmp_path)
    assert [rank.patience for rank in ranks] == [[0.0], [0.0]]


@pytest.mark.parametrize("max_restarts", [0, 2])
def test_restarts_are_bounded(tmp_path: Path, max_restarts: int) -> None:
    lost = [both(LOST, lives=False) for _ in range(4)]
    made, events = line(*lost, max_restarts=max_restarts)
    with pytest.raises(ActorLostError):
        made.serve(tmp_path)
    assert sum(event["event"] == "learner_restarted" for event in events) == max_restarts


def test_work_is_done_again_as_often_as_the_page_allows() -> None:
    made, events = line(*(both(lives=False) for _ in range(4)))
    losses = [LOST] * 3

    def work() -> str:
        if losses:
            raise losses.pop()
        return "done"

    assert made.with_learner(work) == "done"
    assert sum(event["event"] == "learner_restarted" for event in events) == 3


def test_a_run_that_is_told_to_stop_starts_no_new_learner() -> None:
    """A step that outlasts the grace: its error is no lost learner's, though the ranks may be gone
    too.
    """
    made, events = line(both(lives=False), both())

    def work() -> None:
        made._is_ending = lambda: True
        raise DeadlineError("the step did not end within 60 s of SIGTERM")

    with pytest.raises(DeadlineError, match="did not end"):
        made.with_learner(work)
    assert events == []
