"""Rewards run in a process that may be killed: one bad reward costs one score."""

from pathlib import Path

import pytest

from rewards import RewardConfig, RewardPool, RewardWorker, Rubric, check_on_two_rows
from rl.core import Completion, Message, Rollout, Sample, Text
from rl.errors import ActorLostError, ConfigError, RewardError
from rl.runtime.actors import LocalHandle

_MINE = """
import os, time

def act(text, mode):
    if mode == "hang":
        time.sleep(60)
    if mode == "raise":
        raise ValueError("no")
    if mode == "die":
        os._exit(3)
    if mode == "rubbish":
        return "good"
    return float(len(text))
"""


def rollout(uid: str, *texts: str, mode: str = "") -> Rollout:
    sample = Sample(uid, (Message("user", (Text("?"),)),), (), ("x",), {"mode": mode})
    return Rollout(sample, (1,), tuple(Completion((1,), (0.0,), text, "stop") for text in texts))


@pytest.fixture
def worker(tmp_path: Path):
    (tmp_path / "mine.py").write_text(_MINE)
    worker = RewardWorker([RewardConfig(name="./mine.py:act")], deadline_s=1.0, base=tmp_path)
    yield worker
    worker.close()


def test_scores_in_order(worker):
    scores = worker.score([rollout("a", "1", "22"), rollout("b", "333")])
    assert [[score.value for score in group] for group in scores] == [[1.0, 2.0], [3.0]]
    assert worker.num_restarts == 0


@pytest.mark.parametrize(
    ("mode", "reason", "restarts"),
    [
        ("raise", "raised ValueError: no", 0),
        ("rubbish", "returned str 'good'", 0),
        ("die", "exit status 3", 1),
        ("hang", "no answer within 1 s", 1),
    ],
)
def test_a_bad_reward_is_an_error_never_a_zero(worker, mode, reason, restarts):
    bad, good = worker.score([rollout("u-7", "1", mode=mode), rollout("b", "22")])
    assert (bad[0].value, bad[0].status) == (None, "error")
    assert reason in bad[0].reason
    assert "reward act, sample u-7" in bad[0].reason
    assert good[0].value == 2.0
    assert worker.num_restarts == restarts


def test_unknown_reward_is_refused_before_a_process_starts():
    with pytest.raises(ConfigError, match="Did you mean exact"):
        RewardWorker([RewardConfig(name="exat")])


def test_check_on_two_rows(tmp_path):
    (tmp_path / "mine.py").write_text(_MINE)
    rubric = Rubric([RewardConfig(name="./mine.py:act")], tmp_path)
    assert len(check_on_two_rows(rubric, [rollout("a").sample, rollout("b").sample])) == 4
    with pytest.raises(RewardError, match="sample b: raised ValueError"):
        check_on_two_rows(rubric, [rollout("a").sample, rollout("b", mode="raise").sample])
    bare = Sample("c", (Message("user", (Text("?"),)),), (), ("x",))
    with pytest.raises(ConfigError, match="argument 'mode'"):
        check_on_two_rows(rubric, [bare])


def test_pool_keeps_order_and_raises_when_errors_are_many(worker):
    pool = RewardPool([LocalHandle("reward-0", worker), LocalHandle("reward-1", worker)])
    asked = [rollout(str(number), "x" * number) for number in range(1, 8)]
    assert [group[0].value for group in pool.score(asked)] == [float(n) for n in range(1, 8)]
    with pytest.raises(RewardError, match=r"1 of 8 scores are errors.*sample bad"):
        pool.score([rollout("bad", "1", mode="raise")])


def answers(num: int, mode: str = "") -> list[Rollout]:
    """Pairs of answers."""
    return [rollout(f"{mode}-{n}", "1", "22", mode=mode) for n in range(num // 2)]


@pytest.mark.parametrize("mode", ["raise", "hang"])
def test_a_batch_ends_at_the_error_that_is_too_much(tmp_path, mode):
    """384 answers that hang would take their deadline each: 1 % of them is known after four."""
    (tmp_path / "mine.py").write_text(_MINE)
    worker = RewardWorker([RewardConfig(name="./mine.py:act")], deadline_s=0.2, base=tmp_path)
    pool = RewardPool([LocalHandle("reward-0", worker)])
    with pytest.raises(RewardError, match=rf"^4 of 4 scores are errors.*act, sample {mode}-0: "):
        pool.score(answers(384, mode))
    worker.close()


def test_errors_are_counted_against_all_scores_so_far(worker):
    pool = RewardPool([LocalHandle("reward-0", worker)])
    pool.score(answers(98))
    pool.score(answers(100) + answers(2, "raise"))  # 2 of 200
    with pytest.raises(RewardError, match=r"^3 of 201 scores are errors"):
        pool.score(answers(2, "raise"))
    assert (pool.num_scores, pool.num_errors) == (200, 2)


def test_a_worker_leaves_out_what_would_be_late(worker):
    assert [len(group) for group in worker.score(answers(4, "hang"), within_s=1.5)] == [1]
    assert [len(group) for group in worker.score(answers(4))] == [2, 2]


def test_want_of_time_names_the_reward(worker):
    pool = RewardPool([LocalHandle("reward-0", worker)], deadline_s=2.0, max_error_share=0.9)
    wanted = r"^reward-0: 1 of 6 answers were judged within 2 s; the first error: reward act, sampl"
    with pytest.raises(RewardError, match=wanted):
        pool.score(answers(6, "hang"))


class LostCall:
    def result(self, deadline_s: float):
        raise ActorLostError("gone", where="reward-0")


class LostHandle(LocalHandle):
    """A worker whose process is gone."""

    def submit(self, method, *args, **kwargs):
        return LostCall()

    def is_alive(self, patience_s: float = 1.0) -> bool:
        return False


def test_pool_hands_a_lost_workers_share_to_the_others(worker):
    pool = RewardPool([LostHandle("reward-0", None), LocalHandle("reward-1", worker)])
    asked = [rollout(str(number), "x" * number) for number in range(1, 6)]
    assert [group[0].value for group in pool.score(asked)] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_pool_without_workers_left_is_an_error():
    with pytest.raises(RewardError, match="reward-0"):
        RewardPool([LostHandle("reward-0", None)]).score([rollout("a", "x")])
