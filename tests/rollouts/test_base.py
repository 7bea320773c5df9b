import pickle

import pytest
from pydantic import ValidationError

from rl.core import ImageSource, Sampling
from rl.errors import ConfigError
from rollouts.base import (
    GenerateRequest,
    RolloutConfig,
    completion_seed,
    require_whole_distribution,
)


def test_seeds_are_those_of_earlier_runs() -> None:
    # Golden: `printf 0/1/0/q | sha256sum`, its first 16 digits over 4. A change here changes
    # every run that is resumed or repeated.
    assert completion_seed(0, 1, "q", 0) == 2347491666754525688
    assert completion_seed(0, 1, "q", 1) != completion_seed(0, 1, "q", 0)


def test_seeds_differ_by_everything_that_names_a_completion() -> None:
    seeds = {
        completion_seed(seed, step, uid, index)
        for seed in range(3)
        for step in range(3)
        for uid in ("a", "1/a", "a/1")
        for index in range(3)
    }
    assert len(seeds) == 81
    assert all(0 <= seed < 2**62 for seed in seeds)


@pytest.mark.parametrize(("key", "value"), [("top_p", 0.9), ("top_k", 50)])
def test_a_cut_distribution_is_refused_with_the_reason(key: str, value: float) -> None:
    with pytest.raises(ValidationError, match="renormalises"):
        RolloutConfig.model_validate({key: value})
    with pytest.raises(ConfigError, match=rf"{key} = .* in training.*[Rr]enormalises"):
        require_whole_distribution(Sampling(**{key: value}))


def test_greedy_groups_are_refused_in_training() -> None:
    with pytest.raises(ConfigError, match="teach nothing"):
        require_whole_distribution(Sampling(temperature=0.0))


def test_the_section_is_strict_and_frozen() -> None:
    config = RolloutConfig()
    with pytest.raises(ValidationError):
        RolloutConfig.model_validate({"worker": 2})
    with pytest.raises(ValidationError):
        config.workers = 3  # type: ignore[misc]


def test_requests_cross_processes() -> None:
    request = GenerateRequest(0, "u", "hello", (ImageSource(data=b"x"),), (1, 2))
    assert pickle.loads(pickle.dumps(request)) == request
