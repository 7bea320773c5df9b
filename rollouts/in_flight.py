"""What a pool has sent to its workers and what it has still to send."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rl.core import Sample, Sampling
from rl.runtime.actors import Handle, Pending
from rollouts.base import GenerateRequest


@dataclass
class WorkerLoad:
    """One worker's unfinished requests, by ticket, and its calls under way, oldest first.

        worker.assign(requests, sampling)       # before they are sent
        worker.calls.append(worker.handle.submit("advance", requests, sampling, worker.keep))
        worker.complete(result.ticket)          # for every result that came back
        unfinished = worker.clear()             # if its process is lost

    `load` is the number of tokens outstanding, a rough count. `keep` is how many completions the
    latest call may leave unfinished when it returns.
    """

    handle: Handle
    calls: deque[Pending] = field(default_factory=deque)
    assigned: dict[int, GenerateRequest] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    load: int = 0
    keep: int = 0

    def assign(self, requests: Sequence[GenerateRequest], sampling: Sampling) -> None:
        """Counts these requests as the worker's."""
        for request in requests:
            self.assigned[request.ticket] = request
            self.tokens[request.ticket] = num_tokens(request, sampling)
            self.load += self.tokens[request.ticket]

    def complete(self, ticket: int) -> None:
        """The request of this ticket has its result."""
        self.assigned.pop(ticket)
        self.load -= self.tokens.pop(ticket)

    def clear(self) -> list[GenerateRequest]:
        """Forgets calls and requests of a worker that is lost. Returns the unfinished requests."""
        unfinished = list(self.assigned.values())
        self.calls.clear()
        self.assigned.clear()
        self.tokens.clear()
        self.load = self.keep = 0
        return unfinished


class RequestQueue:
    """Requests that are still to be sent. Each is made of its sample when it is about to be sent.

    `samples` is read no further than `take` asks, so a generator does its work in time with the
    engines. The queue is false when nothing is left.
    """

    def __init__(
        self, samples: Iterable[Sample], make: Callable[[Sample], GenerateRequest]
    ) -> None:
        self._source, self._make = iter(samples), make
        self._next: deque[GenerateRequest] = deque()
        self.samples: dict[int, Sample] = {}  # of the requests without a result, by ticket

    def __bool__(self) -> bool:
        if not self._next:
            self._pull(1)
        return bool(self._next)

    def take(self, count: int) -> list[GenerateRequest]:
        """The next requests, at most `count`."""
        self._pull(count - len(self._next))
        return [self._next.popleft() for _ in range(min(count, len(self._next)))]

    def put_back(self, requests: Sequence[GenerateRequest]) -> None:
        """Puts a lost worker's requests at the front, in their order."""
        self._next.extendleft(reversed(requests))  # extendleft reverses them again

    def _pull(self, count: int) -> None:
        for sample in itertools.islice(self._source, max(0, count)):
            request = self._make(sample)
            self.samples[request.ticket] = sample
            self._next.append(request)


def num_tokens(request: GenerateRequest, sampling: Sampling) -> int:
    """A rough count of a request's work, in tokens: a prompt's token is about three characters, and
    every completion may become as long as the limit allows.
    """
    return len(request.prompt) // 3 + len(request.seeds) * sampling.max_new_tokens
