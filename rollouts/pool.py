"""Many rollout workers as one sampler: groups stay whole, engines full, answers in order."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rl.core import Rollout, Sample, Sampling
from rl.errors import ConfigError, DataError, PlumblineError, RolloutError
from rl.runtime.actors import Handle, Pending
from rollouts.base import GenerateRequest, GenerateResult, completion_seed

OnError = Callable[[Sample, str], None]
Progress = Callable[[int], None]

# Two calls a worker: while the driver takes one's results, the engine runs the next.
_CALLS_IN_FLIGHT = 2


@dataclass
class _Worker:
    """A handle, its calls under way (oldest first), and the tokens that it still owes."""

    handle: Handle
    calls: deque[Pending] = field(default_factory=deque)
    owed: dict[int, int] = field(default_factory=dict)  # ticket -> tokens

    @property
    def load(self) -> int:
        return sum(self.owed.values())


class Pool:
    """Implements rl.core.Sampler over rollout workers.

    `prompt_text` writes a sample's prompt as the engines take it: one placeholder an image.
    `deadline_s` bounds every wait for a part of the answers, `publish_deadline_s` a publish.
    """

    def __init__(
        self,
        handles: Sequence[Handle],
        prompt_text: Callable[[Sample], str],
        *,
        max_num_seqs: int = 256,
        deadline_s: float = 600.0,
        publish_deadline_s: float = 120.0,
    ) -> None:
        if not handles:
            raise ConfigError("no rollout worker", where="rollout.workers", expected="at least 1")
        self.handles, self._prompt_text = list(handles), prompt_text
        self._max_num_seqs = max_num_seqs
        self._deadline_s, self._publish_deadline_s = deadline_s, publish_deadline_s
        self._next_ticket = 0
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
        found: dict[int, Rollout] = {}
        for index, rollout in self._stream(samples, sampling, None):
            found[index] = rollout
            if progress is not None:
                progress(len(found))
        return [found[index] for index in range(len(samples))]

    def sample_stream(
        self, samples: Sequence[Sample], sampling: Sampling, *, on_error: OnError | None = None
    ) -> Iterator[Rollout]:
        """Rollouts as they are done, in any order, the engines kept full meanwhile.

        With `on_error` a sample that an engine refuses is reported there and left out.
        """
        for _, rollout in self._stream(samples, sampling, on_error):
            yield rollout

    def sample_on(
        self, worker: int, samples: Sequence[Sample], sampling: Sampling
    ) -> list[Rollout]:
        """The same from one worker alone: the parity gate asks each."""
        requests = self._requests(samples, sampling)
        results: list[GenerateResult] = self.handles[worker].call(
            "generate", requests, sampling, deadline_s=self._deadline_s
        )
        return [_rollout(s, r) for s, r in zip(samples, results, strict=True)]

    def publish(self, version: int, path: str) -> None:
        """Every worker takes the weights; returns when all serve them. Raises: RolloutError."""
        calls = [handle.submit("update_weights", version, path) for handle in self.handles]
        for handle, call in zip(self.handles, calls, strict=True):
            served = call.result(self._publish_deadline_s)
            if served != version:
                raise RolloutError(
                    f"version {served} is served after the publish of {version}", where=handle.name
                )
        self.version = version

    def remedy(self, name: str, version: int, path: str) -> None:
        """One step of the parity gate's diagnosis on every worker (see RolloutWorker.remedy)."""
        calls = [handle.submit("remedy", name, version, path) for handle in self.handles]
        for call in calls:
            call.result(self._publish_deadline_s)

    def _stream(
        self, samples: Sequence[Sample], sampling: Sampling, on_error: OnError | None
    ) -> Iterator[tuple[int, Rollout]]:
        queue = deque(self._requests(samples, sampling))
        first = queue[0].ticket if queue else 0
        workers = [_Worker(handle) for handle in self.handles]
        groups = self._groups_a_call(len(queue), sampling.n)
        try:
            while queue or any(worker.owed for worker in workers):
                self._fill(workers, queue, sampling, groups)
                worker = max(workers, key=lambda w: (len(w.calls), w.load))
                for result in worker.calls.popleft().result(self._deadline_s):
                    worker.owed.pop(result.ticket)
                    sample = samples[result.ticket - first]
                    if result.error is not None and on_error is not None:
                        on_error(sample, result.error)
                        continue
                    yield result.ticket - first, _rollout(sample, result)
        finally:
            self._give_up(workers)

    def _fill(
        self,
        workers: Sequence[_Worker],
        queue: deque[GenerateRequest],
        sampling: Sampling,
        groups: int,
    ) -> None:
        """Sends what may be sent: the next requests to whoever owes the fewest tokens."""
        while queue:
            free = [worker for worker in workers if len(worker.calls) < _CALLS_IN_FLIGHT]
            if not free:
                return
            worker = min(free, key=lambda w: w.load)
            part = [queue.popleft() for _ in range(min(groups, len(queue)))]
            worker.owed.update({request.ticket: _tokens(request, sampling) for request in part})
            keep = self._max_num_seqs if queue else 0
            worker.calls.append(worker.handle.submit("advance", part, sampling, keep))
        for worker in workers:
            if worker.owed and not worker.calls:
                worker.calls.append(worker.handle.submit("advance", [], sampling, 0))

    def _groups_a_call(self, num_groups: int, n: int) -> int:
        """Half an engine's slots a call, and two calls a worker or more, so that loads even out."""
        share = -(-num_groups // (_CALLS_IN_FLIGHT * len(self.handles)))
        return max(1, min(self._max_num_seqs // (2 * n), share))

    def _requests(self, samples: Sequence[Sample], sampling: Sampling) -> list[GenerateRequest]:
        first = self._next_ticket
        self._next_ticket += len(samples)
        return [
            GenerateRequest(
                ticket=first + offset,
                uid=sample.uid,
                prompt=self._prompt_text(sample),
                images=sample.images,
                seeds=tuple(
                    completion_seed(sampling.seed, sampling.step, sample.uid, index)
                    for index in range(sampling.n)
                ),
            )
            for offset, sample in enumerate(samples)
        ]

    def _give_up(self, workers: Sequence[_Worker]) -> None:
        """A caller that stops early, or an error: nothing of this call stays in the engines."""
        for worker in workers:
            if worker.owed:
                with contextlib.suppress(PlumblineError):
                    worker.handle.submit("abort")


def _tokens(request: GenerateRequest, sampling: Sampling) -> int:
    """A rough count of the work: a token is about three characters, new ones cost the most."""
    return len(request.prompt) // 3 + len(request.seeds) * sampling.max_new_tokens


def _rollout(sample: Sample, result: GenerateResult) -> Rollout:
    if result.error is not None:
        raise DataError(result.error, where=f"sample {result.uid}", do="mend or remove the row")
    return Rollout(sample, result.prompt_token_ids, result.completions)
