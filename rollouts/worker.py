"""The rollout worker: a plain class that runs as an actor, one engine each, alive across stages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from rl.core import Sampling
from rl.errors import RolloutError, errors_as, one_line
from rollouts.base import GenerateRequest, GenerateResult, RolloutConfig
from rollouts.engine_vllm import VllmEngine, is_engine_dead

EXIT_ENGINE_DEAD = 70


class RolloutWorker:
    """Serves requests and takes published weights. Calls come one at a time, as an actor's do.

    `max_pixels` is the image limit that learner and engine share. `processor_kwargs` and
    `banned_ids` are found from the model folder unless given.
    """

    def __init__(
        self,
        config: RolloutConfig,
        model_path: str,
        max_pixels: int | None = None,
        index: int = 0,
        *,
        processor_kwargs: Mapping[str, Any] | None = None,
        banned_ids: Sequence[int] | None = None,
    ) -> None:
        self.config, self.model_path, self.index = config, model_path, index
        found = _look_up(model_path, max_pixels)
        kwargs = found.processor_kwargs if processor_kwargs is None else processor_kwargs
        self._engine = VllmEngine(
            config,
            model_path,
            processor_kwargs=kwargs,
            banned_ids=found.banned_ids if banned_ids is None else banned_ids,
            is_multimodal=found.is_multimodal,
        )
        self._version = 0
        self._engine.set_version(0)

    def version(self) -> int:
        """Version of the weights served; 0 are those of the checkpoint that it started from."""
        return self._version

    def generate(
        self, requests: Sequence[GenerateRequest], sampling: Sampling
    ) -> list[GenerateResult]:
        """Every request's group, in the order given."""
        done = {result.ticket: result for result in self.advance(requests, sampling)}
        return [done[request.ticket] for request in requests]

    def advance(
        self, requests: Sequence[GenerateRequest], sampling: Sampling, keep: int = 0
    ) -> list[GenerateResult]:
        """Adds requests, runs until at most `keep` completions are under way, returns what is done.

        With `keep` above 0 the engine stays full while the caller takes results and sends more.
        """
        done: list[GenerateResult] = []
        with self._engine_errors("{error}", where="", do="look at the actor's log"):
            for request in requests:
                try:
                    self._engine.add(request, sampling)
                except Exception as error:  # this prompt's: the others are served
                    if is_engine_dead(error):
                        raise
                    done.append(GenerateResult(request.ticket, request.uid, error=one_line(error)))
            while self._engine.num_unfinished > keep:
                done += self._engine.step()
        return done

    def abort(self) -> None:
        """Gives up whatever is under way; nobody waits for it."""
        self._engine.abort()

    def update_weights(self, version: int, path: str) -> int:
        """Takes published weights in one transaction, and returns the version served.

        Asked again for the version that it serves, it does nothing.
        Raises: RolloutError where the version lies behind, or the file does not fit.
        """
        if version == self._version:
            return version
        if version < self._version:
            raise RolloutError(
                f"version {version} was published, {self._version} is served already",
                where=f"rollout-{self.index}",
                expected="versions that only grow",
                do="go on with --resume; if it happens again, report this",
            )
        return self.reload_weights(version, path)

    def reload_weights(self, version: int, path: str) -> int:
        """The transaction itself, whatever version is served."""
        self.pause()
        with self._taking(version, path):
            self.load_weights(path)
            self._after_load()
        return self._serves(version)

    # -- weights that come straight from the learner; rollouts.transfer calls these by name

    def open_transfer(self, init_info: Mapping[str, Any]) -> None:
        """Opens this worker's end of a channel to the learner."""
        with self._taking(self._version, "opening the channel"):
            self._engine.open_transfer(init_info)

    def start_update(self) -> None:
        """Nothing is sampled until `serve`."""
        self.pause()
        with self._taking(self._version, "start"):
            self._engine.start_update()

    def receive(self, update_info: Mapping[str, Any]) -> None:
        """Takes one chunk."""
        with self._taking(self._version, "update"):
            self._engine.receive(update_info)

    def finish_update(self) -> None:
        """All chunks are there."""
        with self._taking(self._version, "finish"):
            self._engine.finish_update()

    def serve(self, version: int) -> int:
        """Serves the weights received, under their version, with every cache empty."""
        with self._taking(version, "reset"):
            self._after_load()
        return self._serves(version)

    def _after_load(self) -> None:
        self.repack_tied_head()
        self.reset_prefix_cache()
        self.reset_mm_cache()
        self.reset_encoder_cache()

    def _serves(self, version: int) -> int:
        self._version = version
        self._engine.set_version(version)
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
                if is_engine_dead(error):
                    os._exit(EXIT_ENGINE_DEAD)
                raise

    def pause(self) -> None:
        """No request is under way after this; calls come one at a time: none starts meanwhile."""
        self._engine.abort()

    def load_weights(self, path: str) -> None:
        self._engine.load_weights(path)

    def repack_tied_head(self) -> None:
        self._engine.repack_tied_head()

    def reset_prefix_cache(self) -> None:
        self._engine.reset_prefix_cache()

    def reset_mm_cache(self) -> None:
        self._engine.reset_mm_cache()

    def reset_encoder_cache(self) -> None:
        self._engine.reset_encoder_cache()

    def remedy(self, name: str, version: int = 0, path: str = "") -> None:
        """One step of the parity gate's diagnosis, straight on the engine.

        `prefix_cache`, `encoder_cache`, `tied_head` (each with the caches that hang on it), and
        `publish` (the weights from the file again, and everything else).
        """
        self._engine.abort()
        if name == "publish":
            self._engine.load_weights(path)
            self._engine.set_version(version)
        if name in ("tied_head", "publish"):
            self._engine.repack_tied_head()
        if name != "prefix_cache":
            self._engine.reset_mm_cache()
            self._engine.reset_encoder_cache()
        self._engine.reset_prefix_cache()


class _Found:
    def __init__(
        self, processor_kwargs: Mapping[str, Any], banned_ids: Sequence[int], is_multimodal: bool
    ) -> None:
        self.processor_kwargs = processor_kwargs
        self.banned_ids = banned_ids
        self.is_multimodal = is_multimodal


def _look_up(model_path: str, max_pixels: int | None) -> _Found:
    from rl.models.load import find_spec, load_processor, processor_kwargs

    spec = find_spec(model_path, load_processor(model_path, max_pixels))
    kwargs = processor_kwargs(spec.name, max_pixels)
    return _Found(kwargs, spec.banned_ids, spec.has_vision)
