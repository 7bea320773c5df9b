"""Rewards judge one answer."""

from rewards.base import Reward, RewardConfig, Rubric, reward
from rewards.pool import RewardPool
from rewards.worker import RewardWorker, check_on_two_rows

__all__ = [
    "Reward",
    "RewardConfig",
    "RewardPool",
    "RewardWorker",
    "Rubric",
    "check_on_two_rows",
    "reward",
]
