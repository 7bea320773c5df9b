"""The two ways to run vLLM: in the rollout worker's own process (`LLM`), or in a process of its own
behind `AsyncLLM`. Both have the interface `Core`, one completion a request. `VllmEngine` decides
what is asked and puts the completions of a prompt together.
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

_CHECK_ALIVE_S = 0.5  # how often a wait checks that the core's process is alive


class Core(Protocol):
    """A running vLLM engine. Requests have names, and one completion each.

    rendered = core.render({"prompt": "<image>What is it?", "multi_modal_data": ...})
    core.add("7-0", rendered, params)
    while not (outputs := core.step()):     # vLLM's RequestOutput, finished ones alone
        pass
    """

    def render(self, prompt: Mapping[str, Any]) -> Any:
        """Tokenises the prompt and processes its images. Raises: vLLM's error if it rejects the
        prompt."""
        ...

    def add(self, name: str, rendered: Any, params: Any) -> None:
        """Queues a request. `params` are vLLM's SamplingParams with n = 1."""
        ...

    def step(self) -> list[Any]:
        """Computes for a while and returns the outputs that finished. Raises: EngineDeadError."""
        ...

    def abort(self, names: Sequence[str]) -> None:
        """Ends these requests. `step` may still return those that had finished already."""
        ...

    def drain(self) -> None:
        """After all requests were aborted: makes sure that `step` returns nothing of them."""
        ...

    def rpc(self, method: str, **kwargs: Any) -> None:
        """Calls a method of vLLM's worker, in all of its processes."""
        ...

    def reset_prefix_cache(self) -> bool: ...

    def reset_mm_cache(self) -> None: ...

    def reset_encoder_cache(self) -> None: ...

    def set_weight_version(self, version: str) -> None: ...


class InProcessCore:
    """vLLM's `LLM`: its engine computes only while the caller is in `step`."""

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
    """vLLM's `AsyncLLM`: the engine computes in its own process, also while this process renders
    prompts or answers its caller.

    AsyncLLM needs an event loop, which a thread runs. If the engine's process dies, `step` and
    every other call raise EngineDeadError.
    """

    def __init__(self, model_path: str, options: Mapping[str, Any]) -> None:
        own = {key: value for key, value in options.items() if key != "use_tqdm_on_load"}
        arguments = AsyncEngineArgs(model=model_path, **own)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm-loop", daemon=True).start()
        self._finished: queue.SimpleQueue[Any] = (
            queue.SimpleQueue()
        )  # finished outputs, or an exception
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
                found.append(self._finished.get(timeout=_CHECK_ALIVE_S))
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
        except Exception as error:  # raised in the caller's next `step`
            self._finished.put(error)
        finally:
            answer.close()
            self._waiting.pop(name, None)

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        while not future.done():
            # If the core dies during a call, the call gets neither an answer nor an error.
            concurrent.futures.wait([future], timeout=_CHECK_ALIVE_S)
            if not future.done():
                self._require_alive()
        return future.result()

    def _require_alive(self) -> None:
        engine = getattr(self, "_engine", None)  # not set while it starts
        if engine is not None and engine.errored:
            raise EngineDeadError()


def _render(renderer: Any, model_config: Any, prompt: Mapping[str, Any]) -> Any:
    # As the learner's Renderer does: a template that writes the BOS token gets no second one.
    bos = renderer.get_tokenizer().bos_token
    adds = bos is None or not prompt["prompt"].startswith(bos)
    parsed = parse_model_prompt(model_config, dict(prompt))
    params = renderer.default_cmpl_tok_params.with_kwargs(add_special_tokens=adds)
    (rendered,) = renderer.render_cmpl([parsed], params)
    return rendered
