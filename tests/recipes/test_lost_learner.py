"""When work on a lost learner is done again, and when not."""

from pathlib import Path

import pytest
from rich.console import Console

from recipes.config import recipe_of
from recipes.pipeline import Pipeline
from rl.errors import ActorLostError, RunError


class Reviving:
    """The part of a Line that starts a learner anew."""

    def __init__(self) -> None:
        self.asked: list[RunError] = []

    def revive_learner(self, error: RunError) -> None:
        self.asked.append(error)


def pipeline(root: Path) -> tuple[Pipeline, Reviving]:
    recipe = recipe_of({"run": {"root": str(root)}, "model": {"path": "m"}, "learner": {}})
    made, line = Pipeline(recipe, Console(quiet=True)), Reviving()
    made.line = line  # type: ignore[assignment]
    return made, line


def test_work_is_done_again_as_often_as_the_page_allows(tmp_path: Path) -> None:
    made, line = pipeline(tmp_path)
    losses = [ActorLostError("lost", where="learner-0")] * 3

    def work() -> str:
        if losses:
            raise losses.pop()
        return "done"

    assert made._with_learner(work) == "done"
    assert len(line.asked) == 3
    losses += [ActorLostError("lost", where="learner-0")] * 4
    with pytest.raises(ActorLostError):
        made._with_learner(work)


def test_a_step_that_outlasts_the_grace_asks_for_no_new_learner(tmp_path: Path) -> None:
    made, line = pipeline(tmp_path)

    def work() -> None:
        made.interrupt.is_asked = True
        raise RunError("the step did not end within 60 s of SIGTERM")

    with pytest.raises(RunError, match="did not end"):
        made._with_learner(work)
    assert line.asked == []
