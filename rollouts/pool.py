"""Many rollout workers as one sampler.

The group of a prompt is sampled by one worker. Requests are sent to the worker with the fewest
outstanding tokens, two calls ahead, so that an engine is never idle while the driver takes its
results. A worker whose process is lost is restarted, and its requests are sent again.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from rollouts.in_flight import RequestQueue, WorkerLoad

Progress = Callable[[int], None]
# A worker's index -> a new actor for it, ready, with the weights of the model folder.
Restart = Callable[[int], Handle]
OnEvent = Callable[..., None]

# Calls to one worker at a time: while the driver takes the results of one, the engine runs the
# next.
_CALLS_IN_FLIGHT = 2
# With several workers, each is waited for this long before the next is.
_GLANCE_S = 0.002
# When no request is left to send, a stream returns results each time an eighth of the engine's
# slots has become free, instead of once at the end.
_DRAIN = 8


class Pool:
    """Samples completions with several rollout workers. Implements rl.core.StreamingSampler.

        pool = Pool(workers, renderer.prompt_text, deadline_s=600)
        rollouts = pool.sample(samples, sampling)       # in the order of the samples
        for rollout in pool.sample_stream(samples, sampling):
            ...                                         # as they are done, in any order
        pool.publish(version=1, path=path)              # waits until every worker serves version 1

    `prompt_text` writes a sample's prompt as the engines take it: text with one placeholder an
    image. `max_num_seqs` is how many completions one engine computes at once. `deadline_s` bounds
    every wait for results, `publish_deadline_s` every wait in a publish.

    A worker whose process is lost is started again by `restart(index)`. It loads the weights that
    the others serve, and its unfinished requests are sent again. Each completion has its own seed,
    so the answers are the same. After `max_restarts` restarts the next loss is an error.
    `on_event(name, **facts)` is called at each loss and each restart.
    Raises: ConfigError if there is no worker.
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
        # Returns the path of a file with the served weights, and writes it first if need be. None
        # while the workers serve those of the model folder.
        self._file: Callable[[], str] | None = None
        self.version = 0

    @property
    def names(self) -> list[str]:
        """The workers' names, in order."""
        return [handle.name for handle in self.handles]

    def sample(
        self, samples: Sequence[Sample], sampling: Sampling, *, progress: Progress | None = None
    ) -> list[Rollout]:
        """One rollout for each sample, in their order. `progress` is called with the number of
        samples done.

        Raises: DataError naming the sample whose prompt an engine rejects; DeadlineError;
        RolloutError if a worker is lost too often.
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
        """Yields rollouts as they are done, in any order, and keeps the engines busy meanwhile.

        `samples` may be a generator: it is read about as far ahead as the engines have slots, so
        that its work (decoding images) happens while the engines compute. With `on_error`, a sample
        whose prompt an engine rejects is reported there and left out; without, it raises DataError.
        """
        drain = max(1, self._max_num_seqs // _DRAIN)
        for _, rollout in self._stream(samples, sampling, on_error, drain=drain):
            yield rollout

    def sample_on(
        self, worker: int, samples: Sequence[Sample], sampling: Sampling
    ) -> list[Rollout]:
        """One rollout for each sample, all from the worker of this index. The parity gate compares
        the workers with the learner one by one."""
        requests = self._requests(samples, sampling)
        results: list[GenerateResult] = self._call(
            worker, self._deadline_s, "generate", requests, sampling
        )
        return [_rollout(s, r) for s, r in zip(samples, results, strict=True)]

    def publish(self, version: int, path: str) -> None:
        """Has every worker load this file; returns when all serve it under this version.

        Raises: RolloutError if a worker rejects the file or serves another version; DeadlineError.
        """
        calls = [handle.submit("update_weights", version, path) for handle in self.handles]
        self._await_version(version, lambda: path, calls)

    def serve(self, version: int, file: Callable[[], str]) -> None:
        """Has every worker serve the weights that it received from GPU to GPU. `file` writes the
        same weights to a file, for a worker that is restarted and has missed them.

        Raises: RolloutError if a worker serves another version; DeadlineError.
        """
        calls = [handle.submit("serve", version) for handle in self.handles]
        self._await_version(version, file, calls)

    def _await_version(
        self, version: int, file: Callable[[], str], calls: Sequence[Pending]
    ) -> None:
        self._file, self.version = file, version
        for index, call in enumerate(calls):
            try:
                served = call.result(self._publish_deadline_s)
            except RunError as error:
                self._revive(index, error)  # the restart loads the new weights
                continue
            if served != version:
                raise RolloutError(
                    f"version {served} is served after the publish of {version}",
                    where=self.handles[index].name,
                    do="continue with --resume; if it happens again, report this",
                )

    def remedy(self, name: str, version: int, path: str) -> None:
        """Applies one remedy of the parity gate on every worker (see RolloutWorker.remedy)."""
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
        """Yields (ticket, rollout) as they are done. Tickets number the samples in their order.

        `drain`: at the end, a call returns after about so many completions; None: after all.
        """
        queue = RequestQueue(samples, lambda sample: self._request(sample, sampling))
        workers = [WorkerLoad(handle) for handle in self.handles]
        groups = self._groups_a_call(length_hint(samples, self._max_num_seqs), sampling.n)
        try:
            while queue or any(worker.assigned for worker in workers):
                self._fill(workers, queue, sampling, groups, drain)
                worker, results = self._next_results(workers)
                if isinstance(results, RunError):
                    self._take_over(workers, worker, queue, results)
                    continue
                for result in results:
                    worker.complete(result.ticket)
                    sample = queue.samples.pop(result.ticket)
                    if result.error is not None and on_error is not None:
                        on_error(sample, result.error)
                        continue
                    yield result.ticket, _rollout(sample, result)
        finally:
            self._give_up(workers)

    def _next_results(
        self, workers: Sequence[WorkerLoad]
    ) -> tuple[WorkerLoad, list[GenerateResult] | RunError]:
        """Waits for any worker's oldest call. Returns the worker with its results, or with the
        error of the call."""
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
        raise AssertionError("requests are assigned and no call is under way")

    def _take_over(
        self, workers: Sequence[WorkerLoad], lost: WorkerLoad, queue: RequestQueue, error: RunError
    ) -> None:
        """Restarts a lost worker. Its requests return to the front of the queue."""
        unfinished = lost.clear()
        queue.put_back(unfinished)
        lost.handle = self._revive(workers.index(lost), error, requests_in_flight=len(unfinished))

    def _revive(self, index: int, error: RunError, *, requests_in_flight: int = 0) -> Handle:
        """Replaces a lost worker by a new actor that serves the current weights.

        Raises: `error` itself if the process is still alive; RolloutError if no restart is left.
        """
        lost = self.handles[index]
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
        lost.stop()  # frees the actor's name for its successor
        handle = self._restart(index)
        self.handles[index] = handle
        if self._file is not None:
            handle.call(
                "update_weights", self.version, self._file(), deadline_s=self._publish_deadline_s
            )
        self._on_event("rollout_worker_restarted", **facts, requests_asked_again=requests_in_flight)
        return handle

    def _call(self, index: int, deadline_s: float, method: str, *args: Any) -> Any:
        """Calls one worker, and its successor if its process is lost in the call."""
        try:
            return self.handles[index].call(method, *args, deadline_s=deadline_s)
        except RunError as error:
            return self._revive(index, error).call(method, *args, deadline_s=deadline_s)

    def _fill(
        self,
        workers: Sequence[WorkerLoad],
        queue: RequestQueue,
        sampling: Sampling,
        groups: int,
        drain: int | None,
    ) -> None:
        """Sends requests, always to the worker with the fewest outstanding tokens, until every
        worker has two calls or the queue is empty.

        Then a worker with unfinished requests gets calls without new ones, which run its engine to
        the end; with `drain` each of them returns after about so many completions.
        """
        while queue:
            free = [worker for worker in workers if len(worker.calls) < _CALLS_IN_FLIGHT]
            if not free:
                return
            worker = min(free, key=lambda w: w.load)
            part = queue.take(groups)
            worker.assign(part, sampling)
            worker.keep = self._kept(worker, sampling.n, drain, is_last=not queue)
            worker.calls.append(worker.handle.submit("advance", part, sampling, worker.keep))
        most_calls = 1 if drain is None else _CALLS_IN_FLIGHT
        for worker in workers:
            while worker.assigned and len(worker.calls) < most_calls:
                if worker.calls and worker.keep == 0:
                    break
                worker.keep = self._kept(worker, sampling.n, drain, is_last=True)
                worker.calls.append(worker.handle.submit("advance", [], sampling, worker.keep))

    def _kept(self, worker: WorkerLoad, n: int, drain: int | None, *, is_last: bool) -> int:
        """How many completions may be unfinished when a call returns."""
        if not is_last:  # the engine stays full: the next call brings more requests
            return self._max_num_seqs
        if drain is None:
            return 0
        unfinished = len(worker.assigned) * n
        if worker.calls:  # the call before this one leaves fewer
            unfinished = min(unfinished, worker.keep)
        return max(0, unfinished - drain)

    def _groups_a_call(self, num_groups: int, n: int) -> int:
        """How many groups go into one call: at most half an engine's slots, and few enough that
        every worker gets two calls or more, so that their loads become equal."""
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

    def _give_up(self, workers: Sequence[WorkerLoad]) -> None:
        """Aborts what is unfinished, after an error or if the caller stops reading the stream."""
        for worker in workers:
            if worker.assigned:
                with contextlib.suppress(PlumblineError):
                    worker.handle.submit("abort")


def _no_event(event: str, **_: Any) -> None:
    """The default of `on_event`."""


def _rollout(sample: Sample, result: GenerateResult) -> Rollout:
    if result.error is not None:
        raise DataError(result.error, where=f"sample {result.uid}", do="fix or remove the row")
    return Rollout(sample, result.prompt_token_ids, result.completions)
