import pytest

from rl.errors import ConfigError
from rl.runtime.placement import Role, place


def test_a_small_machine_is_shared_in_fractions() -> None:
    placement = place(
        [Role("learner", 1), Role("rollout", 1), Role("reward", 1)], cluster_cpus=2, cluster_gpus=0
    )
    shares = [placement.role(name).cpus for name in ("learner", "rollout", "reward")]
    assert all(0 < share <= 1 for share in shares)
    assert sum(shares) <= 2


def test_a_large_machine_gives_whole_cores() -> None:
    placement = place(
        [Role("learner", 2), Role("rollout", 2, 4.0)], cluster_cpus=64, cluster_gpus=0
    )
    assert placement.role("learner").cpus == 1.0
    assert placement.role("rollout").cpus == 4.0


@pytest.mark.parametrize(
    "roles",
    [
        [Role("learner", 1, 1.5), Role("rollout", 1, 1.0)],
        [Role("learner", 1, 2.0), Role("rollout", 1)],
    ],
)
def test_demand_above_supply_names_both(roles: list[Role]) -> None:
    with pytest.raises(ConfigError, match=r"ask for 2.*at most the cluster's 2"):
        place(roles, cluster_cpus=2, cluster_gpus=0)


def test_gpus_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match="ask for 8 GPUs"):
        place([Role("learner", 8, 0.1, 1.0)], cluster_cpus=2, cluster_gpus=0)
