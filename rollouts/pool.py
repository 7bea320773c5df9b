"""Many rollout workers as one sampler: groups stay whole, engines full, answers in order."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import length_hint
from typing import Any

from rl.core import OnRefused, Rollout, Sample, Sampling
from rl.errors import (
    ActorLostError,
    ConfigError,
    DataError,
    DeadlineError,
    PlumblineError,
    RolloutError,
    RunError,
)
from rl.runtime.actors import Handle, Pending
from rollouts.base import GenerateRequest, GenerateResult, completion_seed

Progress = Callable[[int], None]
# A worker's place -> a new actor for it, started and ready, serving the model's first weights.
Restart = Callable[[int], Handle]
OnEvent = Callable[..., None]

# Two calls a worker: while the driver takes one's results, the engine runs the next.
_CALLS_IN_FLIGHT = 2
# With several workers: how long to look at one before the next is looked at.
_GLANCE_S = 0.002
# Where no request is left to send, a stream hands out what is done at every eighth of the slots.
_DRAIN = 8


@dataclass
class _Worker:
    """A handle, its calls under way (oldest first), and what it still owes."""

    handle: Handle
    calls: deque[Pending] = field(default_factory=deque)
    owed: dict[int, GenerateRequest] = field(default_factory=dict)  # by ticket
    tokens: dict[int, int] = field(default_factory=dict)
    load: int = 0  # tokens that are outstanding
    keep: int = 0  # of the last call

    def owe(self, requests: Sequence[GenerateRequest], sampling: Sampling) -> None:
        """Takes requests on."""
        for request in requests:
            self.owed[request.ticket] = request
            self.tokens[request.ticket] = _tokens(request, sampling)
            self.load += self.tokens[request.ticket]

    def pay(self, ticket: int) -> None:
        """One is answered."""
        self.owed.pop(ticket)
        self.load -= self.tokens.pop(ticket)

    def forget(self) -> list[GenerateRequest]:
        """What a lost worker owed."""
        owed = list(self.owed.values())
        self.calls.clear()
        self.owed.clear()
        self.tokens.clear()
        self.load = self.keep = 0
        return owed


class _Queue:
    """Requests, made of samples as they are wanted; what a lost worker owed comes first again."""

    def __init__(
        self, samples: Iterable[Sample], make: Callable[[Sample], GenerateRequest]
    ) -> None:
        self._source, self._make = iter(samples), make
        self._next: deque[GenerateRequest] = deque()
        self.samples: dict[int, Sample] = {}  # under way, by ticket

    def __bool__(self) -> bool:
        if not self._next:
            self._pull(1)
        return bool(self._next)

    def take(self, count: int) -> list[GenerateRequest]:
        """At most so many."""
        self._pull(count - len(self._next))
        return [self._next.popleft() for _ in range(min(count, len(self._next)))]

    def put_back(self, requests: Sequence[GenerateRequest]) -> None:
        """These first, in their order."""
        self._next.extendleft(reversed(requests))

    def _pull(self, count: int) -> None:
        for sample in itertools.islice(self._source, max(0, count)):
            request = self._make(sample)
            self.samples[request.ticket] = sample
            self._next.append(request)


class Pool:
    """Implements rl.core.Sampler over rollout workers.

    `prompt_text` writes a sample's prompt as the engines take it: one placeholder an image.
    `deadline_s` bounds every wait for a part of the answers, `publish_deadline_s` a publish. A
    worker whose process is lost is started anew by `restart`, takes the weights served before it
    serves, and its unfinished requests are asked again: their seeds are their own, so the answers
    are the same. More than `max_restarts` in a pool's life are an error.
    """

    def __init__(
        self,
        handles: Sequence[Handle],
        prompt_text: Callable[[Sample], str],
        *,
        max_num_seqs: int = 256,
        deadline_s: float = 600.0,
        publish_deadline_s: float = 120.0,
        restart: Restart | None = None,
        max_restarts: int = 3,
        on_event: OnEvent | None = None,
    ) -> None:
        if not handles:
            raise ConfigError(
                "no rollout worker",
                where="rollout.workers",
                expected="at least 1",
                do="raise rollout.workers",
            )
        self.handles, self._prompt_text = list(handles), prompt_text
        self._max_num_seqs = max_num_seqs
        self._deadline_s, self._publish_deadline_s = deadline_s, publish_deadline_s
        self._restart, self._restarts_left = restart, max_restarts
        self._on_event = on_event or _no_event
        self._next_ticket = 0
        self._file: Callable[[], str] | None = None  # writes or names the file of what is served
        self.version = 0

    @property
    def names(self) -> list[str]:
        """The workers' names, in order."""
        return [handle.name for handle in self.handles]

    def sample(
        self, samples: Sequence[Sample], sampling: Sampling, *, progress: Progress | None = None
    ) -> list[Rollout]:
        """One rollout a sample, in the order given; `progress` hears how many samples are done.

        Raises: DataError naming the sample whose prompt an engine refused; DeadlineError.
        """
        first, found = self._next_ticket, dict[int, Rollout]()
        for ticket, rollout in self._stream(samples, sampling, None):
            found[ticket - first] = rollout
            if progress is not None:
                progress(len(found))
        return [found[index] for index in range(len(samples))]

    def sample_stream(
        self, samples: Iterable[Sample], sampling: Sampling, *, on_error: OnRefused | None = None
    ) -> Iterator[Rollout]:
        """Rollouts as they are done, in any order, the engines kept full meanwhile.

        `samples` may be lazy: they are taken about as far ahead as the engines have slots, so that
        whoever makes them (decodes their images) works while the engines do. With `on_error` a
        sample that an engine refuses is reported there and left out.
        """
        drain = max(1, self._max_num_seqs // _DRAIN)
        for _, rollout in self._stream(samples, sampling, on_error, drain=drain):
            yield rollout

    def sample_on(
        self, worker: int, samples: Sequence[Sample], sampling: Sampling
    ) -> list[Rollout]:
        """The same from one worker alone: the parity gate asks each."""
        requests = self._requests(samples, sampling)
        results: list[GenerateResult] = self._call(
            worker, self._deadline_s, "generate", requests, sampling
        )
        return [_rollout(s, r) for s, r in zip(samples, results, strict=True)]

    def publish(self, version: int, path: str) -> None:
        """Every worker takes the weights; returns when all serve them. Raises: RolloutError."""
        calls = [handle.submit("update_weights", version, path) for handle in self.handles]
        self._await_version(version, lambda: path, calls)

    def serve(self, version: int, file: Callable[[], str]) -> None:
        """Every worker serves the weights that it received. `file` writes them for a worker that
        starts anew and has missed them. Raises: RolloutError.
        """
        calls = [handle.submit("serve", version) for handle in self.handles]
        self._await_version(version, file, calls)

    def _await_version(
        self, version: int, file: Callable[[], str], calls: Sequence[Pending]
    ) -> None:
        self._file, self.version = file, version
        for place, call in enumerate(calls):
            try:
                served = call.result(self._publish_deadline_s)
            except RunError as error:
                self._revive(place, error)  # it takes the new weights as it starts
                continue
            if served != version:
                raise RolloutError(
                    f"version {served} is served after the publish of {version}",
                    where=self.handles[place].name,
                    do="go on with --resume; if it happens again, report this",
                )

    def remedy(self, name: str, version: int, path: str) -> None:
        """One step of the parity gate's diagnosis on every worker (see RolloutWorker.remedy)."""
        calls = [handle.submit("remedy", name, version, path) for handle in self.handles]
        for call in calls:
            call.result(self._publish_deadline_s)

    def _stream(
        self,
        samples: Iterable[Sample],
        sampling: Sampling,
        on_error: OnRefused | None,
        drain: int | None = None,
    ) -> Iterator[tuple[int, Rollout]]:
        """(ticket, rollout) as they are done; tickets count the samples in the order taken."""
        queue = _Queue(samples, lambda sample: self._request(sample, sampling))
        workers = [_Worker(handle) for handle in self.handles]
        groups = self._groups_a_call(length_hint(samples, self._max_num_seqs), sampling.n)
        try:
            while queue or any(worker.owed for worker in workers):
                self._fill(workers, queue, sampling, groups, drain)
                worker, results = self._next_results(workers)
                if isinstance(results, RunError):
                    self._take_over(workers, worker, queue, results)
                    continue
                for result in results:
                    worker.pay(result.ticket)
                    sample = queue.samples.pop(result.ticket)
                    if result.error is not None and on_error is not None:
                        on_error(sample, result.error)
                        continue
                    yield result.ticket, _rollout(sample, result)
        finally:
            self._give_up(workers)

    def _next_results(
        self, workers: Sequence[_Worker]
    ) -> tuple[_Worker, list[GenerateResult] | RunError]:
        """What the first worker gives whose oldest call is done, or its error."""
        busy = sorted((w for w in workers if w.calls), key=lambda w: (-len(w.calls), -w.load))
        ends = time.monotonic() + self._deadline_s
        for worker in itertools.cycle(busy):
            is_last_look = len(busy) == 1 or time.monotonic() > ends
            try:
                found: list[GenerateResult] = worker.calls[0].result(
                    self._deadline_s if len(busy) == 1 else _GLANCE_S
                )
            except DeadlineError as error:
                if not is_last_look:
                    continue
                worker.calls.popleft()
                return worker, error
            except RunError as error:
                worker.calls.popleft()
                return worker, error
            worker.calls.popleft()
            return worker, found
        raise AssertionError("requests are owed and no call is under way")

    def _take_over(
        self, workers: Sequence[_Worker], lost: _Worker, queue: _Queue, error: RunError
    ) -> None:
        """A lost worker starts anew; what it owed is in the queue again."""
        owed = lost.forget()
        queue.put_back(owed)
        lost.handle = self._revive(workers.index(lost), error, requests_in_flight=len(owed))

    def _revive(self, place: int, error: RunError, *, requests_in_flight: int = 0) -> Handle:
        """A new actor in a lost one's place, serving the current weights. Raises: `error` itself
        where its process lives; RolloutError where no restart is left.
        """
        lost = self.handles[place]
        if not isinstance(error, ActorLostError) or self._restart is None:
            raise error
        facts = {"worker": lost.name, "version": self.version}
        self._on_event("rollout_worker_lost", **facts, requests_in_flight=requests_in_flight)
        if self._restarts_left == 0:
            raise RolloutError(
                f"its process was lost again: {error.what}",
                where=lost.name,
                expected="few losses",
                do="look at the actor's log (memory?), or raise rollout.max_restarts",
            ) from error
        self._restarts_left -= 1
        lost.stop()  # its name is free then
        handle = self._restart(place)
        self.handles[place] = handle
        if self._file is not None:
            handle.call(
                "update_weights", self.version, self._file(), deadline_s=self._publish_deadline_s
            )
        self._on_event("rollout_worker_restarted", **facts, requests_asked_again=requests_in_flight)
        return handle

    def _call(self, place: int, deadline_s: float, method: str, *args: Any) -> Any:
        """One call of one worker, once more where its process was lost."""
        try:
            return self.handles[place].call(method, *args, deadline_s=deadline_s)
        except RunError as error:
            return self._revive(place, error).call(method, *args, deadline_s=deadline_s)

    def _fill(
        self,
        workers: Sequence[_Worker],
        queue: _Queue,
        sampling: Sampling,
        groups: int,
        drain: int | None,
    ) -> None:
        """Sends what may be sent: the next requests to whoever owes the fewest tokens.

        With `drain` a worker that gets no more still hands out its answers by so many.
        """
        while queue:
            free = [worker for worker in workers if len(worker.calls) < _CALLS_IN_FLIGHT]
            if not free:
                return
            worker = min(free, key=lambda w: w.load)
            part = queue.take(groups)
            worker.owe(part, sampling)
            worker.keep = self._kept(worker, sampling.n, drain, is_last=not queue)
            worker.calls.append(worker.handle.submit("advance", part, sampling, worker.keep))
        for worker in workers:
            while worker.owed and len(worker.calls) < (1 if drain is None else _CALLS_IN_FLIGHT):
                if worker.calls and worker.keep == 0:
                    break
                worker.keep = self._kept(worker, sampling.n, drain, is_last=True)
                worker.calls.append(worker.handle.submit("advance", [], sampling, worker.keep))

    def _kept(self, worker: _Worker, n: int, drain: int | None, *, is_last: bool) -> int:
        """How many completions a call leaves under way."""
        if not is_last:
            return self._max_num_seqs
        if drain is None:
            return 0
        owed = len(worker.owed) * n
        return max(0, (min(owed, worker.keep) if worker.calls else owed) - drain)

    def _groups_a_call(self, num_groups: int, n: int) -> int:
        """Half an engine's slots a call, and two calls a worker or more, so that loads even out."""
        share = -(-num_groups // (_CALLS_IN_FLIGHT * len(self.handles)))
        return max(1, min(self._max_num_seqs // (2 * n), share))

    def _requests(self, samples: Sequence[Sample], sampling: Sampling) -> list[GenerateRequest]:
        return [self._request(sample, sampling) for sample in samples]

    def _request(self, sample: Sample, sampling: Sampling) -> GenerateRequest:
        ticket = self._next_ticket
        self._next_ticket += 1
        return GenerateRequest(
            ticket=ticket,
            uid=sample.uid,
            prompt=self._prompt_text(sample),
            images=sample.images,
            seeds=tuple(
                completion_seed(sampling.seed, sampling.step, sample.uid, index)
                for index in range(sampling.n)
            ),
        )

    def _give_up(self, workers: Sequence[_Worker]) -> None:
        """A caller that stops early, or an error: nothing of this call stays in the engines."""
        for worker in workers:
            if worker.owed:
                with contextlib.suppress(PlumblineError):
                    worker.handle.submit("abort")


def _no_event(event: str, **_: Any) -> None:
    """Nobody listens."""


def _tokens(request: GenerateRequest, sampling: Sampling) -> int:
    """A rough count of the work: a token is about three characters, new ones cost the most."""
    return len(request.prompt) // 3 + len(request.seeds) * sampling.max_new_tokens


def _rollout(sample: Sample, result: GenerateResult) -> Rollout:
    if result.error is not None:
        raise DataError(result.error, where=f"sample {result.uid}", do="mend or remove the row")
    return Rollout(sample, result.prompt_token_ids, result.completions)
