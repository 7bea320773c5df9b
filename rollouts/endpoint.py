"""An OpenAI-compatible endpoint as a sampler: closed models answer the same questions.

Every answer is one request, and a bounded number of requests runs at once. There are three kinds of
failure. One that may pass (a busy server) is tried again. One that concerns this question alone
becomes the question's error. One that every question would meet (a wrong key, an unknown model)
stops the evaluation at once.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import queue
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from rl.config import Section
from rl.core import (
    Completion,
    FinishReason,
    Image,
    ImageSource,
    Message,
    OnRefused,
    Rollout,
    Sample,
    Sampling,
)
from rl.errors import DataError, RolloutError
from rollouts.base import completion_seed

if TYPE_CHECKING:
    import httpx

_PASSING = (408, 409, 425, 429, *range(500, 600))
_HOPELESS = (401, 402, 403, 404, 405)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_FAILURES_IN_A_ROW = 32
_MAX_SHOWN = 300
_SIGNATURES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))


class EndpointConfig(Section):
    """Where the model answers. The key stays in the environment: it is neither stored nor shown."""

    url: str = Field(description="Base URL, e.g. https://api.openai.com/v1.")
    model: str = Field(min_length=1, description="The model's name there; name a dated version.")
    key_env: str = Field("OPENAI_API_KEY", description="Environment variable that holds the key.")
    concurrency: int = Field(16, ge=1, description="Requests under way at once.")
    timeout_s: float = Field(120.0, gt=0, description="Longest wait for one request.")
    deadline_s: float = Field(600.0, gt=0, description="Longest wait for an answer, all tries.")
    max_tries: int = Field(6, ge=1, description="Tries of one request.")
    tokens_key: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the server calls the length limit."
    )
    extra: dict[str, Any] = Field(
        {}, description="More fields of each request, e.g. reasoning_effort."
    )

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be a URL such as https://api.openai.com/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("must hold no key: put it into the environment and name key_env")
        return url.rstrip("/")

    @property
    def fingerprint(self) -> str:
        """Identifies the model in results, in place of its weights, which nobody can see."""
        return f"{self.model} at {self.url}"


@dataclass(frozen=True)
class _Failed:
    """Why a question has no answer. `is_hopeless`: no other question will get one either."""

    why: str
    is_hopeless: bool = False


class _Retry(Exception):
    """This try failed, another may succeed. `after_s`: how long the server asks to wait."""

    def __init__(self, why: str, after_s: float | None = None) -> None:
        super().__init__(why)
        self.after_s = after_s


class _GivenUp(Exception):
    """The request failed, and trying again is pointless."""

    def __init__(self, why: str, *, is_hopeless: bool = False) -> None:
        super().__init__(why)
        self.is_hopeless = is_hopeless


class Endpoint:
    """Samples from an OpenAI-compatible server. Implements rl.core.StreamingSampler.

    config = EndpointConfig(url="https://api.openai.com/v1", model="gpt-4o-2024-08-06")
    endpoint = Endpoint(config)                     # reads the key from $OPENAI_API_KEY
    for rollout in endpoint.sample_stream(samples, sampling):
        rollout.completions[0].text                 # no token ids, no log-probs
    """

    def __init__(self, config: EndpointConfig) -> None:
        self.config = config
        self._key = os.environ.get(config.key_env, "").strip()
        self._open_at = 0.0  # the server asked all requests to wait until then

    def sample_stream(
        self, samples: Iterable[Sample], sampling: Sampling, *, on_error: OnRefused | None = None
    ) -> Iterator[Rollout]:
        """Yields rollouts as they are done, in any order. A question without an answer is reported
        to `on_error`.

        Raises: RolloutError if no request can succeed (key, model, address), or if so many failed
        in a row that the server must be down; DataError for a single question if there is no
        `on_error`.
        """
        done: queue.SimpleQueue[tuple[Sample, Rollout | _Failed]] = queue.SimpleQueue()
        source, under_way, failures = iter(samples), 0, 0
        with _Loop(self._client) as loop:
            while True:
                while under_way < self.config.concurrency:
                    sample = next(source, None)
                    if sample is None:
                        break
                    loop.start(self._answer(loop.client, sample, sampling), sample, done)
                    under_way += 1
                if not under_way:
                    return
                sample, found = done.get()
                under_way -= 1
                if isinstance(found, Rollout):
                    failures = 0
                    yield found
                    continue
                failures += 1
                if found.is_hopeless or failures >= _FAILURES_IN_A_ROW:
                    raise RolloutError(
                        found.why
                        if found.is_hopeless
                        else f"{failures} failures in a row, the last: {found.why}",
                        where=f"endpoint {self.config.url}, model {self.config.model}",
                        do=f"check URL, model and the key in ${self.config.key_env}, then "
                        "continue with --resume",
                    )
                if on_error is None:
                    raise DataError(
                        found.why,
                        where=f"sample {sample.uid}",
                        do="fix the question, or leave it out",
                    )
                on_error(sample, found.why)

    def _client(self) -> httpx.AsyncClient:
        import httpx

        many = self.config.concurrency
        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=self.config.timeout_s,
            limits=httpx.Limits(max_connections=many, max_keepalive_connections=many),
        )

    async def _answer(
        self, client: httpx.AsyncClient, sample: Sample, sampling: Sampling
    ) -> Rollout | _Failed:
        try:
            async with asyncio.timeout(self.config.deadline_s):
                messages = [_message(message, sample.images) for message in sample.messages]
                answers = [
                    await self._complete(client, self._body(messages, sample.uid, sampling, index))
                    for index in range(sampling.n)
                ]
        except _GivenUp as error:
            return _Failed(str(error), error.is_hopeless)
        except TimeoutError:
            return _Failed(f"no answer within {self.config.deadline_s:g} s")
        except OSError as error:
            return _Failed(f"an image cannot be read: {error}")
        completions, prompt_tokens = zip(*answers, strict=True)
        return Rollout(sample, (), completions, counted_prompt_tokens=max(prompt_tokens))

    def _body(
        self, messages: list[Any], uid: str, sampling: Sampling, index: int
    ) -> dict[str, Any]:
        body = {
            "model": self.config.model,
            "messages": messages,
            "temperature": sampling.temperature,
            self.config.tokens_key: sampling.max_new_tokens,
        }
        if sampling.top_p != 1.0:
            body["top_p"] = sampling.top_p
        if sampling.temperature > 0:
            body["seed"] = completion_seed(sampling.seed, sampling.step, uid, index) % 2**31
        return body | self.config.extra

    async def _complete(
        self, client: httpx.AsyncClient, body: Mapping[str, Any]
    ) -> tuple[Completion, int]:
        """One answer and the number of its prompt's tokens, after up to `max_tries` tries.
        Raises: _GivenUp."""
        for number in range(self.config.max_tries):
            await asyncio.sleep(max(0.0, self._open_at - time.monotonic()))
            try:
                return await self._try(client, body)
            except _Retry as error:
                why = f"{error} ({number + 1} tries)"
                pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**number)
                pause *= random.uniform(
                    0.5, 1.0
                )  # so that the waiting requests do not all return at the same moment
                if error.after_s is not None:
                    pause = error.after_s
                    if pause > self.config.deadline_s:
                        raise _GivenUp(f"{why}; asked to wait {pause:g} s") from None
                    self._open_at = max(self._open_at, time.monotonic() + pause)
            if number + 1 < self.config.max_tries:
                await asyncio.sleep(pause)
        raise _GivenUp(why)

    async def _try(
        self, client: httpx.AsyncClient, body: Mapping[str, Any]
    ) -> tuple[Completion, int]:
        import httpx

        try:
            # httpx bounds each read, so a server that sends a byte now and then would hold the
            # request for ever.
            async with asyncio.timeout(self.config.timeout_s):
                reply = await client.post(f"{self.config.url}/chat/completions", json=body)
        except (httpx.TimeoutException, TimeoutError):
            raise _Retry(f"no reply within {self.config.timeout_s:g} s") from None
        except httpx.TransportError as error:
            raise _Retry(self._shown(f"{type(error).__name__}: {error}")) from None
        if reply.status_code == 200:
            try:
                return _completion(reply.json())
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                raise _Retry(f"a reply that is no completion ({error!r})") from None
        why = f"HTTP {reply.status_code}: {self._shown(_complaint(reply))}"
        is_spent = "insufficient_quota" in reply.text
        if reply.status_code in _PASSING and not is_spent:
            raise _Retry(why, _retry_after(reply.headers))
        raise _GivenUp(why, is_hopeless=is_spent or reply.status_code in _HOPELESS)

    def _shown(self, text: str) -> str:
        """A server's message as it may be shown: on one line, short, and without the key."""
        line = " ".join(text.split())
        if self._key:
            line = line.replace(self._key, "***")
        return line[:_MAX_SHOWN]


class _Loop:
    """An event loop in a thread of its own, with an HTTP client. Requests continue there while the
    caller of the generator works on an answer.
    """

    def __init__(self, make_client: Any) -> None:
        self._make_client = make_client
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[Any] = set()
        self.client: httpx.AsyncClient

    def __enter__(self) -> _Loop:
        self._thread.start()
        self.client = self._make_client()
        return self

    def start(self, answer: Any, sample: Sample, done: queue.SimpleQueue[Any]) -> None:
        """Runs a coroutine; puts (sample, its value) into `done`."""
        task = asyncio.run_coroutine_threadsafe(answer, self._loop)
        self._tasks.add(task)

        def hand_over(task: Any) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return
            error = task.exception()
            done.put((sample, task.result() if error is None else _Failed(repr(error))))

        task.add_done_callback(hand_over)

    def __exit__(self, *_: object) -> None:
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self.client.aclose(), self._loop).result(5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self._loop.close()


def _message(message: Message, images: tuple[ImageSource, ...]) -> dict[str, Any]:
    """A turn as the API takes it, images as data URLs. Raises: OSError."""
    if not any(isinstance(part, Image) for part in message.parts):
        return {"role": message.role, "content": message.text}
    content = [
        {"type": "image_url", "image_url": {"url": _data_url(images[part.index])}}
        if isinstance(part, Image)
        else {"type": "text", "text": part.text}
        for part in message.parts
    ]
    return {"role": message.role, "content": content}


def _data_url(image: ImageSource) -> str:
    data = image.read()
    kind = next((kind for start, kind in _SIGNATURES if data.startswith(start)), "png")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _completion(reply: Mapping[str, Any]) -> tuple[Completion, int]:
    """The completion in a reply, and the number of its prompt's tokens.

    Raises: KeyError, TypeError and the like if the reply is no chat completion; _GivenUp if the
    server's content filter withheld the answer, so that nobody knows what the model said.
    """
    choice = reply["choices"][0]
    message, usage = choice["message"], reply.get("usage") or {}
    text = message.get("content")
    if isinstance(text, list):
        text = "".join(part.get("text", "") for part in text)
    if text is None:
        text = message.get("refusal") or ""
    if not text and choice.get("finish_reason") == "content_filter":
        raise _GivenUp("the server's content filter withheld the answer")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        # In the form of a model that writes its thinking into the answer: the evaluation removes it
        # and counts answers that were cut off in it.
        text = f"<think>{reasoning}" + (f"</think>{text}" if text else "")
    reason: FinishReason = "length" if choice.get("finish_reason") == "length" else "stop"
    if not isinstance(text, str):
        raise TypeError(f"content is a {type(text).__name__}")
    completion = Completion(
        (), (), text, reason, counted_tokens=int(usage.get("completion_tokens") or 0)
    )
    return completion, int(usage.get("prompt_tokens") or 0)


def _complaint(reply: httpx.Response) -> str:
    try:
        error = reply.json()["error"]
        return str(error["message"] if isinstance(error, Mapping) else error)
    except (ValueError, KeyError, TypeError):
        return reply.text or reply.reason_phrase


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that the server asks to wait, as a number or a date; None if it does not ask."""
    value = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
