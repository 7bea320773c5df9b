from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from rl.core import Completion, Message, Sample, Sampling, Text
from rl.errors import ActorLostError, ConfigError, DataError, DeadlineError, RolloutError
from rl.runtime.actors import LocalHandle
from rollouts.base import GenerateRequest, GenerateResult
from rollouts.pool import Pool

SAMPLING = Sampling(n=4, max_new_tokens=8, seed=3)


class FakeWorker:
    """Keeps `keep` completions under way as an engine does, and finishes the newest first."""

    def __init__(self, broken: Sequence[str] = ()) -> None:
        self.under_way: list[GenerateRequest] = []
        self.served: list[str] = []
        self.keeps: list[int] = []
        self.broken, self.version, self.aborted = set(broken), 0, 0

    def generate(self, requests: Sequence[GenerateRequest], sampling: Sampling) -> Any:
        done = {r.ticket: r for r in self.advance(requests, sampling)}
        return [done[r.ticket] for r in requests]

    def advance(
        self, requests: Sequence[GenerateRequest], sampling: Sampling, keep: int = 0
    ) -> list[GenerateResult]:
        self.under_way += requests
        self.keeps.append(keep)
        done = []
        while sum(len(r.seeds) for r in self.under_way) > keep:
            request = self.under_way.pop()
            self.served.append(request.uid)
            if request.uid in self.broken:
                done.append(GenerateResult(request.ticket, request.uid, error="no such image"))
                continue
            completions = tuple(
                Completion((seed,), (-1.0,), f"{request.uid}:{seed}", "stop", (self.version,))
                for seed in request.seeds
            )
            done.append(GenerateResult(request.ticket, request.uid, (1, 2), completions))
        return done

    def abort(self) -> None:
        self.under_way.clear()
        self.aborted += 1

    def update_weights(self, version: int, path: str) -> int:
        self.version = version
        return version

    def serve(self, version: int) -> int:
        self.version = version
        return version

    def remedy(self, name: str, version: int, path: str) -> None:
        self.served.append(name)


def _samples(count: int) -> list[Sample]:
    return [Sample(f"s{i}", (Message("user", (Text("?" * (i % 7)),)),)) for i in range(count)]


def _pool(workers: Sequence[FakeWorker], **options: Any) -> Pool:
    handles = [LocalHandle(f"rollout-{i}", worker) for i, worker in enumerate(workers)]
    return Pool(handles, lambda sample: sample.messages[0].text, **options)


@pytest.mark.parametrize("num_workers", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 50])
def test_answers_come_in_the_order_asked(num_workers: int, count: int) -> None:
    samples = _samples(count)
    seen: list[int] = []
    rollouts = _pool([FakeWorker() for _ in range(num_workers)], max_num_seqs=8).sample(
        samples, SAMPLING, progress=seen.append
    )
    assert [r.sample for r in rollouts] == samples
    assert all(c.text.startswith(f"{r.sample.uid}:") for r in rollouts for c in r.completions)
    assert all(len(r.completions) == 4 for r in rollouts)
    assert seen == list(range(1, count + 1))


def test_groups_stay_whole_and_loads_even_out() -> None:
    workers = [FakeWorker(), FakeWorker()]
    _pool(workers, max_num_seqs=64).sample(_samples(40), SAMPLING)
    served = [worker.served for worker in workers]
    assert sorted(served[0] + served[1]) == sorted(f"s{i}" for i in range(40))
    assert abs(len(served[0]) - len(served[1])) <= 8


def test_the_next_request_goes_to_whoever_owes_the_fewest_tokens() -> None:
    sent: list[tuple[str, str]] = []

    class Noting(LocalHandle):
        def submit(self, method: str, *args: Any, **kwargs: Any) -> Any:
            sent.extend((self.name, request.uid) for request in args[0])
            return super().submit(method, *args, **kwargs)

    handles = [Noting(name, FakeWorker()) for name in ("a", "b", "c")]
    pool = Pool(handles, lambda sample: sample.messages[0].text, max_num_seqs=8)
    lengths = [6000, 3000, 300, 300, 9000]
    samples = [
        Sample(f"s{i}", (Message("user", (Text("?" * length),)),))
        for i, length in enumerate(lengths)
    ]
    pool.sample(samples, SAMPLING)
    # Two calls at most are under way at a worker: c is full when the fifth is sent.
    assert sent == [("a", "s0"), ("b", "s1"), ("c", "s2"), ("c", "s3"), ("b", "s4")]


def test_engines_stay_full_until_the_queue_is_empty() -> None:
    worker = FakeWorker()
    _pool([worker], max_num_seqs=16).sample(_samples(40), SAMPLING)
    assert set(worker.keeps[:-2]) == {16}
    assert worker.keeps[-1] == 0


def test_completions_do_not_depend_on_workers_or_order() -> None:
    samples = _samples(20)
    one = _pool([FakeWorker()]).sample(samples, SAMPLING)
    many = _pool([FakeWorker() for _ in range(3)], max_num_seqs=8).sample(samples[::-1], SAMPLING)
    assert one == many[::-1]


def test_a_sample_twice_gives_two_rollouts() -> None:
    sample = _samples(1)[0]
    rollouts = _pool([FakeWorker()]).sample([sample, sample], SAMPLING)
    assert rollouts[0] == rollouts[1]


def test_a_refused_prompt_names_its_sample() -> None:
    worker = FakeWorker(broken=["s3"])
    pool = _pool([worker], max_num_seqs=8)
    with pytest.raises(DataError, match="sample s3: no such image"):
        pool.sample(_samples(40), SAMPLING)
    assert worker.aborted == 1
    assert not worker.under_way


def test_a_stream_reports_refused_prompts_and_goes_on() -> None:
    refused: list[tuple[str, str]] = []
    rollouts = _pool([FakeWorker(broken=["s3", "s5"])]).sample_stream(
        _samples(9), SAMPLING, on_error=lambda sample, what: refused.append((sample.uid, what))
    )
    assert len(list(rollouts)) == 7
    assert sorted(refused) == [("s3", "no such image"), ("s5", "no such image")]


@pytest.mark.parametrize("count", [0, 1, 7, 50, 200])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_a_stream_takes_samples_as_it_needs_them(num_workers: int, count: int) -> None:
    taken, done, ahead = 0, [], []

    def samples() -> Any:
        nonlocal taken
        for sample in _samples(count):
            taken += 1
            yield sample

    pool = _pool([FakeWorker() for _ in range(num_workers)], max_num_seqs=16)
    for rollout in pool.sample_stream(samples(), SAMPLING):
        done.append(rollout.sample.uid)
        ahead.append(taken - len(done))
    assert sorted(done) == sorted(sample.uid for sample in _samples(count))
    assert max(ahead, default=0) <= 12 * num_workers  # 16 slots are 4 groups; two calls of 2 more


def test_a_stream_hands_out_what_is_done_while_the_rest_goes_on() -> None:
    worker = FakeWorker()
    list(_pool([worker], max_num_seqs=16).sample_stream(_samples(12), SAMPLING))
    kept = [keep for keep in worker.keeps if keep < 16]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] == 0
    assert all(a - b <= 4 for a, b in itertools.pairwise([16, *kept]))


def test_whoever_is_done_first_is_served_first() -> None:
    """A worker that is busy with a long answer does not keep the other from new requests."""

    class Slow(LocalHandle):
        def submit(self, method: str, *args: Any, **kwargs: Any) -> Any:
            call = super().submit(method, *args, **kwargs)

            class Call:
                looks = 0

                def result(self, deadline_s: float) -> Any:
                    self.looks += 1
                    if deadline_s < 1 and self.looks < 200:
                        raise DeadlineError("no answer yet")
                    return call.result(0)

            return Call()

    slow, quick = FakeWorker(), FakeWorker()
    pool = Pool(
        [Slow("slow", slow), LocalHandle("quick", quick)], lambda sample: "p", max_num_seqs=8
    )
    assert len(list(pool.sample_stream(_samples(60), SAMPLING))) == 60
    assert len(quick.served) > 40


def test_a_stream_that_is_left_early_leaves_nothing_behind() -> None:
    worker = FakeWorker()
    pool = _pool([worker], max_num_seqs=8)
    stream = pool.sample_stream(_samples(40), SAMPLING)
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    assert not worker.under_way
    assert len(pool.sample(_samples(5), SAMPLING)) == 5


def test_publish_reaches_every_worker() -> None:
    workers = [FakeWorker(), FakeWorker()]
    pool = _pool(workers)
    pool.publish(4, "weights")
    assert [worker.version for worker in workers] == [4, 4]
    assert pool.version == 4


def test_a_worker_that_serves_another_version_is_an_error() -> None:
    class Stuck(FakeWorker):
        def update_weights(self, version: int, path: str) -> int:
            return 1

    with pytest.raises(RolloutError, match="rollout-1: version 1 is served"):
        _pool([FakeWorker(), Stuck()]).publish(2, "weights")


def test_an_actor_s_error_comes_through() -> None:
    class Dead(FakeWorker):
        def advance(self, *_: Any) -> Any:
            raise RolloutError("gone", where="rollout-0")

    with pytest.raises(RolloutError, match="rollout-0: gone"):
        _pool([Dead()]).sample(_samples(3), SAMPLING)


def test_every_wait_has_the_deadline() -> None:
    waited: list[float] = []

    class Waiting(LocalHandle):
        def submit(self, method: str, *args: Any, **kwargs: Any) -> Any:
            call = super().submit(method, *args, **kwargs)
            found = call.result(0)

            class Call:
                def result(self, deadline_s: float) -> Any:
                    waited.append(deadline_s)
                    return found

            return Call()

    pool = Pool([Waiting("r", FakeWorker())], lambda s: "p", deadline_s=7, publish_deadline_s=3)
    pool.sample(_samples(3), SAMPLING)
    pool.publish(1, "w")
    pool.remedy("prefix_cache", 1, "w")
    assert set(waited[:-2]) == {7}
    assert waited[-2:] == [3, 3]


def test_no_worker_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no rollout worker"):
        Pool([], lambda sample: "")


class LostHandle(LocalHandle):
    """An actor whose process ends after `calls` calls."""

    def __init__(self, name: str, target: Any, calls: int) -> None:
        super().__init__(name, target)
        self.calls = calls

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self.calls -= 1
        if self.calls < 0:
            return _Lost(self.name)
        return super().submit(method, *args, **kwargs)

    def is_alive(self, patience_s: float = 1.0) -> bool:
        return self.calls >= 0


class _Lost:
    def __init__(self, name: str) -> None:
        self.name = name

    def result(self, deadline_s: float) -> Any:
        raise ActorLostError("the actor died", where=self.name)


@pytest.mark.parametrize(
    ("calls", "others"), [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (0, 1), (1, 1), (2, 1)]
)
def test_a_lost_workers_requests_are_asked_again_of_its_successor(calls: int, others: int) -> None:
    samples, successor, told = _samples(40), FakeWorker(), []
    handles = [LostHandle("rollout-0", FakeWorker(), calls)]
    handles += [LocalHandle(f"rollout-{i + 1}", FakeWorker()) for i in range(others)]
    pool = Pool(
        handles,
        lambda sample: sample.messages[0].text,
        max_num_seqs=8,
        restart=lambda place: LocalHandle(f"rollout-{place}", successor),
        on_event=lambda event, **facts: told.append((event, facts)),
    )
    rollouts = pool.sample(samples, SAMPLING)
    assert rollouts == _pool([FakeWorker()]).sample(samples, SAMPLING)
    assert [event for event, _ in told] == ["rollout_worker_lost", "rollout_worker_restarted"]
    (_, lost), (_, restarted) = told
    assert restarted["requests_asked_again"] == lost["requests_in_flight"]
    pool.publish(3, "weights")
    assert successor.version == 3


def test_a_successor_takes_the_weights_served_before_it_serves() -> None:
    successor = FakeWorker()
    pool = Pool(
        [LostHandle("rollout-0", FakeWorker(), 1)],
        lambda sample: sample.messages[0].text,
        restart=lambda place: LocalHandle("rollout-0", successor),
    )
    pool.publish(7, "weights")
    rollouts = pool.sample(_samples(3), SAMPLING)
    assert {c.weight_versions for r in rollouts for c in r.completions} == {(7,)}


def test_a_successor_of_sent_weights_gets_a_file_when_it_is_needed() -> None:
    successor, written = FakeWorker(), []

    def write() -> str:
        written.append("weights")
        return "weights"

    pool = Pool(
        [LostHandle("rollout-0", FakeWorker(), 2)],
        lambda sample: sample.messages[0].text,
        restart=lambda place: LocalHandle("rollout-0", successor),
    )
    pool.serve(5, write)
    assert (pool.version, written) == (5, [])
    rollouts = pool.sample(_samples(3), SAMPLING)
    assert {c.weight_versions for r in rollouts for c in r.completions} == {(5,)}
    assert written == ["weights"]


def test_losing_workers_again_and_again_is_an_error() -> None:
    pool = Pool(
        [LostHandle("rollout-0", FakeWorker(), 0)],
        lambda sample: sample.messages[0].text,
        restart=lambda place: LostHandle("rollout-0", FakeWorker(), 0),
        max_restarts=2,
    )
    with pytest.raises(RolloutError, match=r"lost again.*max_restarts"):
        pool.sample(_samples(3), SAMPLING)
