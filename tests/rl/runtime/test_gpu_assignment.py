import pytest

from rl.errors import ConfigError
from rl.runtime.gpu_assignment import GpuAssignment, assign_gpus
from rl.runtime.placement import Role


def where(assignments: list[GpuAssignment]) -> dict[str, tuple[int, tuple[int, ...]]]:
    return {s.actor: (s.node, s.gpus) for s in assignments}


def test_fractions_pair_roles_and_never_two_of_one() -> None:
    """Half a GPU each would let Ray put two ranks on one: their process group could not start."""
    roles = [Role("learner", 4, gpus=0.5), Role("rollout", 4, gpus=0.5), Role("reward", 2)]
    found = where(assign_gpus(roles, nodes=2, gpus=2))
    for index in range(4):
        place = (index // 2, (index % 2,))
        assert found[f"learner-{index}"] == found[f"rollout-{index}"] == place
    assert len(found) == 8


def test_whole_gpus_are_on_one_machine() -> None:
    roles = [Role("learner", 3, gpus=1), Role("rollout", 2, gpus=2)]
    found = where(assign_gpus(roles, nodes=2, gpus=4))
    assert [found[f"learner-{i}"] for i in range(3)] == [(0, (0,)), (0, (1,)), (0, (2,))]
    assert (found["rollout-0"], found["rollout-1"]) == ((1, (0, 1)), (1, (2, 3)))


@pytest.mark.parametrize(
    ("roles", "nodes", "gpus"),
    [
        ([Role("learner", 3, gpus=0.25)], 1, 2),
        ([Role("learner", 2, gpus=1), Role("rollout", 1, gpus=1)], 1, 2),
        ([Role("rollout", 1, gpus=4)], 2, 2),
    ],
)
def test_no_place_is_told_with_the_numbers(roles: list[Role], nodes: int, gpus: int) -> None:
    with pytest.raises(ConfigError, match=rf"no place for its .* {nodes} x {gpus} GPUs"):
        assign_gpus(roles, nodes=nodes, gpus=gpus)
