"""The two ways to run vLLM's engine core: in the worker's own process (`LLM`), or in a process of
its own behind `AsyncLLM`. `VllmEngine` keeps the requests' books; a core only runs them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import queue
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from vllm import LLM, AsyncEngineArgs
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

T = TypeVar("T")

_LOOK_S = 0.5  # how often a wait looks whether the core lives


class Core(Protocol):
    """Requests by name, one completion each; outputs are vLLM's `RequestOutput`."""

    def render(self, prompt: Mapping[str, Any]) -> Any:
        """The prompt tokenised, its images processed. Raises: what vLLM says of it."""
        ...

    def add(self, name: str, rendered: Any, params: Any) -> None: ...

    def step(self) -> list[Any]:
        """Finished outputs, after at least some progress. Raises: EngineDeadError."""
        ...

    def abort(self, names: Sequence[str]) -> None:
        """Gives these up; what of them is done already may still come out of `step`."""
        ...

    def drain(self) -> None:
        """After every request was given up: nothing comes out of `step` any more."""
        ...

    def rpc(self, method: str, **kwargs: Any) -> None:
        """Calls a method of vLLM's worker, in all of its processes."""
        ...

    def reset_prefix_cache(self) -> bool: ...

    def reset_mm_cache(self) -> None: ...

    def reset_encoder_cache(self) -> None: ...

    def set_weight_version(self, version: str) -> None: ...


class InProcessCore:
    """`LLM`'s engine, stepped by the caller."""

    def __init__(self, model_path: str, options: Mapping[str, Any]) -> None:
        self._llm = LLM(model_path, **options)
        self._engine = self._llm.llm_engine

    def render(self, prompt: Mapping[str, Any]) -> Any:
        return _render(self._llm.renderer, self._llm.model_config, prompt)

    def add(self, name: str, rendered: Any, params: Any) -> None:
        self._engine.add_request(name, rendered, params)

    def step(self) -> list[Any]:
        return [output for output in self._engine.step() if output.finished]

    def abort(self, names: Sequence[str]) -> None:
        self._engine.abort_request(list(names))

    def drain(self) -> None:
        while self._engine.has_unfinished_requests():
            self._engine.step()

    def rpc(self, method: str, **kwargs: Any) -> None:
        self._llm.collective_rpc(method, kwargs=kwargs)

    def reset_prefix_cache(self) -> bool:
        return bool(self._engine.reset_prefix_cache())

    def reset_mm_cache(self) -> None:
        self._engine.reset_mm_cache()

    def reset_encoder_cache(self) -> None:
        self._engine.reset_encoder_cache()

    def set_weight_version(self, version: str) -> None:
        self._engine.set_weight_version(version)


class OwnProcessCore:
    """`AsyncLLM`: the engine runs on while this process renders prompts and talks to its caller.

    A thread runs the event loop that AsyncLLM needs. A core process that dies makes `step` and
    every call raise EngineDeadError.
    """

    def __init__(self, model_path: str, options: Mapping[str, Any]) -> None:
        own = {key: value for key, value in options.items() if key != "use_tqdm_on_load"}
        arguments = AsyncEngineArgs(model=model_path, **own)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm-loop", daemon=True).start()
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()  # outputs, or an exception
        self._waiting: dict[str, asyncio.Task[None]] = {}

        async def start() -> AsyncLLM:
            return AsyncLLM.from_engine_args(arguments)

        self._engine = self._wait(start())
        self.rpc("end_with", pid=os.getpid())

    def render(self, prompt: Mapping[str, Any]) -> Any:
        return _render(self._engine.renderer, self._engine.model_config, prompt)

    def add(self, name: str, rendered: Any, params: Any) -> None:
        async def send() -> None:
            answer = await self._engine.add_request(name, rendered, params)
            self._waiting[name] = self._loop.create_task(self._collect(name, answer))

        self._wait(send())

    def step(self) -> list[Any]:
        found: list[Any] = []
        while not found:
            with contextlib.suppress(queue.Empty):
                found.append(self._finished.get(timeout=_LOOK_S))
            self._require_alive()
        while not self._finished.empty():
            found.append(self._finished.get())
        for output in found:
            if isinstance(output, BaseException):
                raise output
        return found

    def abort(self, names: Sequence[str]) -> None:
        async def give_up() -> None:
            tasks = [task for name in names if (task := self._waiting.get(name)) is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._engine.abort(list(names))

        self._wait(give_up())

    def drain(self) -> None:
        while not self._finished.empty():
            self._finished.get()

    def rpc(self, method: str, **kwargs: Any) -> None:
        self._wait(self._engine.collective_rpc(method, kwargs=kwargs))

    def reset_prefix_cache(self) -> bool:
        return bool(self._wait(self._engine.reset_prefix_cache()))

    def reset_mm_cache(self) -> None:
        self._wait(self._engine.reset_mm_cache())

    def reset_encoder_cache(self) -> None:
        self._wait(self._engine.reset_encoder_cache())

    def set_weight_version(self, version: str) -> None:
        self._wait(self._engine.update_weight_version(version))

    async def _collect(self, name: str, answer: Any) -> None:
        try:
            output = await answer.get()
            while not output.finished:
                output = await answer.get()
            self._finished.put(output)
        except Exception as error:  # raised where the caller steps
            self._finished.put(error)
        finally:
            answer.close()
            self._waiting.pop(name, None)

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        while not future.done():
            # A call under way when the core dies gets no answer and no error.
            concurrent.futures.wait([future], timeout=_LOOK_S)
            if not future.done():
                self._require_alive()
        return future.result()

    def _require_alive(self) -> None:
        engine = getattr(self, "_engine", None)  # none while it starts
        if engine is not None and engine.errored:
            raise EngineDeadError()


def _render(renderer: Any, model_config: Any, prompt: Mapping[str, Any]) -> Any:
    # As the learner's Renderer: a template that writes the first token gets no second one.
    bos = renderer.get_tokenizer().bos_token
    adds = bos is None or not prompt["prompt"].startswith(bos)
    parsed = parse_model_prompt(model_config, dict(prompt))
    params = renderer.default_cmpl_tok_params.with_kwargs(add_special_tokens=adds)
    (rendered,) = renderer.render_cmpl([parsed], params)
    return rendered
