"""The rollout worker: one inference engine in one actor, alive through all stages of a run.

It is a plain class: `rl.runtime.cluster` runs it on Ray, tests run it in a child process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from rl.core import Sampling
from rl.errors import RolloutError, errors_as, one_line
from rl.runtime.remedy import PUBLISH
from rollouts.base import GenerateRequest, GenerateResult, RolloutConfig
from rollouts.engines.base import Engine, EngineStart, ReceivingEngine

EXIT_ENGINE_DEAD = 70


class RolloutWorker:
    """Samples completions and loads published weights. An actor gets one call at a time, so no
    request can start while weights are loaded.

        worker = RolloutWorker(RolloutConfig(), "path/to/model")
        results = worker.generate(requests, sampling)   # waits for all of them
        worker.update_weights(1, path)                  # stops requests, loads, resets every cache
        results = worker.generate(requests, sampling)   # tokens are labelled with version 1

    `config.engine` chooses the engine. `max_pixels` is the image limit that learner and engine
    share. `index` is the worker's number in its pool. `banned_ids` are the family's if not given.
    Raises: ModelError if the model is of no known family; RolloutError if the engine does not
    start.
    """

    def __init__(
        self,
        config: RolloutConfig,
        model_path: str,
        max_pixels: int | None = None,
        index: int = 0,
        *,
        banned_ids: Sequence[int] | None = None,
    ) -> None:
        from rl.models.load import find_spec, load_processor

        self.config, self.model_path, self.index = config, model_path, index
        spec = find_spec(model_path, load_processor(model_path, max_pixels))
        self.engine: Engine = config.engine.start(
            EngineStart(
                model_path=model_path,
                rollout=config,
                max_pixels=max_pixels,
                banned_ids=spec.banned_ids if banned_ids is None else banned_ids,
                is_multimodal=spec.has_vision,
            )
        )
        self._version = 0
        self.engine.set_version(0)

    def version(self) -> int:
        """The version of the weights in use; 0 is the model folder that it started from."""
        return self._version

    def generate(
        self, requests: Sequence[GenerateRequest], sampling: Sampling
    ) -> list[GenerateResult]:
        """Samples every request's group of completions; returns them in the order of the
        requests."""
        done = {result.ticket: result for result in self.advance(requests, sampling)}
        return [done[request.ticket] for request in requests]

    def advance(
        self, requests: Sequence[GenerateRequest], sampling: Sampling, keep: int = 0
    ) -> list[GenerateResult]:
        """Adds requests, computes until at most `keep` completions are unfinished, and returns the
        groups that are done.

        With `keep` above 0 the engine stays busy while the caller reads results and sends more. A
        request that the engine rejects is a result with an `error`. Raises: RolloutError if the
        engine fails.
        """
        done: list[GenerateResult] = []
        with self._engine_errors("{error}", where="", do="look at the actor's log"):
            for request in requests:
                try:
                    self.engine.add(request, sampling)
                except Exception as error:  # this prompt's: the others are served
                    if self.engine.is_dead(error):
                        raise
                    done.append(GenerateResult(request.ticket, request.uid, error=one_line(error)))
            while self.engine.num_unfinished > keep:
                done += self.engine.step()
        return done

    def abort(self) -> None:
        """Ends all unfinished requests. Their results are lost."""
        self.engine.abort()

    def update_weights(self, version: int, path: str) -> int:
        """Loads published weights in one transaction, and returns the version in use.

        Does nothing if this version is in use already, so that a publish can be repeated.
        Raises: RolloutError if the version is older than the one in use, or the file does not fit.
        """
        if version == self._version:
            return version
        if version < self._version:
            raise RolloutError(
                f"version {version} was published, {self._version} is served already",
                where=f"rollout-{self.index}",
                expected="versions that only grow",
                do="continue with --resume; if it happens again, report this",
            )
        return self.reload_weights(version, path)

    def reload_weights(self, version: int, path: str) -> int:
        """The transaction itself, whichever version is in use: stop requests, load the file, reset
        every cache that holds results of the old weights, set the version."""
        self.engine.abort()
        with self._taking(version, path):
            self.engine.load_weights(path)
            self.engine.reset_caches()
        return self._serves(version)

    # The same transaction in parts, for weights that come from GPU to GPU. The engine's channel
    # calls these by name: open_transfer once, then start_update, receive (several times),
    # finish_update; Pool.serve calls `serve` at the end.

    def open_transfer(self, init_info: Mapping[str, Any]) -> None:
        """Opens this worker's end of a channel to the learner."""
        with self._taking(self._version, "opening the channel"):
            self._receiving.open_transfer(init_info)

    def start_update(self) -> None:
        """Stops requests and prepares the engine. Nothing may be sampled until `serve`."""
        self.engine.abort()
        with self._taking(self._version, "start"):
            self._receiving.start_update()

    def receive(self, update_info: Mapping[str, Any]) -> None:
        """Receives one chunk of weights."""
        with self._taking(self._version, "update"):
            self._receiving.receive(update_info)

    def finish_update(self) -> None:
        """All chunks have been received. Raises: RolloutError if weights are missing."""
        with self._taking(self._version, "finish"):
            self._receiving.finish_update()

    def serve(self, version: int) -> int:
        """Resets every cache and samples with the received weights from now on, under this
        version."""
        with self._taking(version, "reset"):
            self.engine.reset_caches()
        return self._serves(version)

    @property
    def _receiving(self) -> ReceivingEngine:
        # A recipe whose engine takes files alone opens no channel, so nothing calls these then.
        return cast(ReceivingEngine, self.engine)

    def _serves(self, version: int) -> int:
        self._version = version
        self.engine.set_version(version)
        return version

    def _taking(self, version: int, what: str) -> AbstractContextManager[None]:
        return self._engine_errors(
            f"weights of version {version} were not taken: {{error}}",
            where=f", {what}",
            do="check that the learner publishes under the checkpoint's own weight names",
        )

    @contextlib.contextmanager
    def _engine_errors(self, what: str, *, where: str, do: str) -> Iterator[None]:
        """What the engine raises becomes a RolloutError; a dead engine ends this process, because
        one that stays would be asked again for ever.
        """
        with errors_as(RolloutError, what, where=f"rollout-{self.index}{where}", do=do):
            try:
                yield
            except Exception as error:
                if self.engine.is_dead(error):
                    os._exit(EXIT_ENGINE_DEAD)
                raise

    def remedy(self, name: str, version: int = 0, path: str = "") -> None:
        """Repairs one thing in the engine, for the parity gate's diagnosis: one of the engine's own
        remedies, or `publish`, which loads the file again and empties every cache.
        """
        self.engine.abort()
        if name != PUBLISH.name:
            self.engine.remedy(name)
            return
        self.engine.load_weights(path)
        self.engine.set_version(version)
        self.engine.reset_caches()
