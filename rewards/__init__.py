"""Rewards judge one answer; one file holds one reward, and the folder is the registry.

A new reward is a new file here, or a function of your own that a recipe names as
`./mine.py:function`. It is a plain function whose arguments are filled in by name:

    @reward(name="first_word")  # the name in recipes: `rewards: [first_word]`
    def first_word(text: str, solution: str) -> float:
        \"\"\"1.0 where the answer begins with the solution, else 0.0.\"\"\"
        return float(text.startswith(solution))

`rewards/base.py` says which arguments a reward may ask for and what it may return. The readers that
several rewards and benchmarks share are in `letters.py` (option letters), `yes_no.py`, `numeric.py`
and `text.py` (answers to open questions).
"""

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
