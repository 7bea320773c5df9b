"""Which transports a page may ask for: the same on every machine, before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from recipes.planning.actors import require_gpus, roles
from recipes.schema.recipe import Recipe, load_recipe, recipe_of
from rl.errors import ConfigError

SHARED = {
    "learner": {"ranks": 2, "gpus": 0.5},
    "rollout": {"workers": 2, "gpus": 0.5, "engine": {"transport": "ipc"}},
}
OWN = {
    "learner": {"ranks": 2, "gpus": 1},
    "rollout": {"workers": 2, "gpus": 1, "engine": {"transport": "nccl"}},
}
LEAN = {"rollout": {"engine": "transformers", "gpus": 1}}


def page(base: dict[str, Any], *overrides: str) -> Recipe:
    return recipe_of({"model": {"path": "model"}, **base}, overrides)


@pytest.mark.parametrize(
    ("base", "override", "says"),
    [
        (
            SHARED,
            "learner.gpus=0",
            r"rollout.engine.transport: ipc goes from GPU to GPU.*0 a learner",
        ),
        (SHARED, "rollout.gpus=0", r"0 a rollout worker.*transport: file"),
        (SHARED, "learner.gpus=1", r"learner and engine on one GPU.*1 \+ 0.5 of one"),
        (SHARED, "learner.gpus=0.25", r"0.25 \+ 0.5 of one.*fractions that make 1"),
        (SHARED, "learner.ranks=4", r"2 engines for 4 ranks"),
        (SHARED, "rollout.engine.tensor_parallel=2", r"rollout.gpus: 0.5 for an engine over 2"),
        (SHARED, "rollout.engine.core=own_process", r"memory handles.*in_process"),
        (OWN, "learner.gpus=0", r"nccl goes from GPU to GPU"),
        (OWN, "rollout.gpus=0.5", r"nccl needs GPUs of their own.*rollout.gpus 0.5"),
        (OWN, "rollout.engine.tensor_parallel=2", r"1 for an engine over 2.*rollout.gpus: 2"),
        (OWN, "hardware.nodes=2", r"hardware.nodes: 2 machines.*runtime.address: auto"),
        (OWN, "rollout.engine.rendezvous=10.0.0.1", r"is not host:port"),
        (OWN, "rollout.engine.rendezvous=:80", r"is not host:port"),
        (SHARED, "rollout.engine.rendezvous=h:80", r"no meaning for transport: ipc"),
        (SHARED, "rollout.engine.transport=rdma", r"transport.*rdma"),
        (LEAN, "rollout.gpus=2", r"2 GPUs for an engine that runs on one.*rollout.gpus: 1"),
        (LEAN, "rollout.engine.transport=ipc", r"transport.*unknown key"),
    ],
)
def test_what_does_not_fit_is_refused(base: dict[str, Any], override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        page(base, override)
    assert error.value.exit_code == 2


def test_what_fits(tmp_path: Path) -> None:
    assert page(SHARED).rollout.engine.transport == "ipc"
    assert page(OWN, "rollout.engine.rendezvous=10.0.0.1:29700").rollout.engine.transport == "nccl"
    page(OWN, "rollout.engine.tensor_parallel=2", "rollout.gpus=2")
    page(OWN, "hardware.nodes=2", "runtime.address=auto")
    assert page({}).rollout.engine.transport == "file"
    assert page(LEAN).rollout.engine.way_in == "file"


def test_engines_stand_beside_the_ranks_that_they_read_from() -> None:
    """In groups of their own, Ray would put two ranks of half a GPU on one GPU."""
    assert {role.name: role.beside for role in roles(page(SHARED), has_learner=True)}[
        "rollout"
    ] == "learner"
    assert all(role.beside is None for role in roles(page(OWN), has_learner=True))


def test_the_page_and_line_are_named(tmp_path: Path) -> None:
    file = tmp_path / "page.yaml"
    file.write_text("model: {path: model}\nrollout:\n  engine:\n    transport: ipc\n")
    with pytest.raises(ConfigError, match=r"page\.yaml:4 rollout\.engine\.transport: ipc goes"):
        load_recipe(file)


def test_gpus_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recipes.planning.actors.count_gpus", lambda: 1)
    with pytest.raises(ConfigError, match="asks for 2 GPUs, this machine has 1"):
        require_gpus(page(SHARED))
    monkeypatch.setattr("recipes.planning.actors.count_gpus", lambda: 2)
    require_gpus(page(SHARED))
    monkeypatch.setattr("recipes.planning.actors.count_gpus", lambda: 0)
    require_gpus(page({}))
