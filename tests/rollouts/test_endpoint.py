"""An OpenAI-compatible endpoint, asked over real HTTP: a server that errs in every way that a
server can.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rl.core import Image, ImageSource, Message, Sample, Sampling, Text
from rl.errors import DataError, RolloutError
from rollouts.endpoint import Endpoint, EndpointConfig

GREEDY = Sampling(temperature=0.0, max_new_tokens=8)
KEY = "sk-secret-1234567890"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Server(ThreadingHTTPServer):
    """Answers `word: how` as `how` says; remembers every request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.tries: dict[str, int] = defaultdict(int)
        self.times: dict[str, list[float]] = defaultdict(list)
        self.lock, self.at_once, self.most_at_once = threading.Lock(), 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # of a client that gave up
            super().handle()

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        with server.lock:
            server.seen.append(body)
            server.headers.append(dict(self.headers))
            server.tries[text] += 1
            server.times[text].append(time.monotonic())
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            self._answer(text.partition(": ")[2], server.tries[text], body)
        finally:
            with server.lock:
                server.at_once -= 1

    def _answer(self, how: str, number: int, body: dict[str, Any]) -> None:
        if how.startswith("slow"):
            time.sleep(0.05)
        if how == "hangs once" and number == 1:
            time.sleep(4.0)
        if how == "trickles":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b" ")
                time.sleep(0.05)
            return
        if how == "cuts the line once" and number == 1:
            self.connection.close()
            return
        if how == "garbage once" and number == 1:
            return self._send(200, {"object": "nothing"})
        if how == "busy for a day":
            return self._send(429, {"error": {"message": "come back tomorrow"}}, "86400")
        if how.startswith("busy") and number <= 2:
            after = "0.2"
            if how == "busy until a date":
                after = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
            return self._send(429, {"error": {"message": "slow down"}}, after)
        status = {"fails": 500, "is too long": 400, "is forbidden": 401, "is spent": 429}.get(how)
        if status is not None:
            code = "insufficient_quota" if status == 429 else None
            message = f"refused {self.headers.get('authorization')}" if status == 401 else "no"
            return self._send(status, {"error": {"message": message, "code": code}})
        self._send(200, self._completion(how, number, body))

    def _completion(self, how: str, number: int, body: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": f"answer {body.get('seed', '')}"}
        reason = "stop"
        if how == "thinks":
            message["reasoning_content"] = "a cat"
        if how == "thinks too long":
            message, reason = {"content": None, "reasoning_content": "a cat and"}, "length"
        if how == "is filtered":
            message, reason = {"content": "", "reasoning_content": "a cat"}, "content_filter"
        if how == "is filtered late":
            reason = "content_filter"
        usage = {"completion_tokens": 5, "prompt_tokens": 70}
        return {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}

    def _send(self, status: int, body: dict[str, Any], retry_after: str | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        if retry_after is not None:
            self.send_header("retry-after", retry_after)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollouts.endpoint._FIRST_PAUSE_S", 0.02)
    monkeypatch.setenv("PLUMBLINE_TEST_KEY", KEY)


def endpoint(server: Server, **options: Any) -> Endpoint:
    config = {"url": server.url, "model": "gpt-test", "key_env": "PLUMBLINE_TEST_KEY"}
    return Endpoint(EndpointConfig(**{**config, "max_tries": 4, **options}))


def ask(text: str, *images: ImageSource) -> Sample:
    parts = tuple(Image(i) for i in range(len(images)))
    return Sample(text, (Message("user", (*parts, Text(text))),), images)


def answers(
    endpoint: Endpoint, samples: Any, sampling: Sampling = GREEDY
) -> tuple[dict[str, Any], dict[str, str]]:
    errors: dict[str, str] = {}
    found = {
        rollout.sample.uid: rollout
        for rollout in endpoint.sample_stream(
            samples, sampling, on_error=lambda sample, why: errors.update({sample.uid: why})
        )
    }
    return found, errors


def test_a_question_with_images_becomes_one_request(server: Server) -> None:
    system = Message("system", (Text("Be brief."),))
    sample = ask("q: ok", ImageSource(data=PNG), ImageSource(data=b"\xff\xd8\xff\xe0rest"))
    sample = Sample("q", (system, *sample.messages), sample.images)
    found, errors = answers(endpoint(server, extra={"reasoning_effort": "low"}), [sample])
    assert not errors
    (completion,) = found["q"].completions
    assert (completion.text, completion.finish_reason) == ("answer ", "stop")
    assert (completion.num_tokens, found["q"].num_prompt_tokens) == (5, 70)
    (body,) = server.seen
    assert {k: v for k, v in body.items() if k != "messages"} == {
        "model": "gpt-test",
        "temperature": 0.0,
        "max_tokens": 8,
        "reasoning_effort": "low",
    }
    first, turn = body["messages"]
    assert first == {"role": "system", "content": "Be brief."}
    urls = [part["image_url"]["url"] for part in turn["content"][:2]]
    assert urls[0] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert urls[1].startswith("data:image/jpeg;base64,")
    assert turn["content"][2] == {"type": "text", "text": "q: ok"}
    assert {k.lower(): v for k, v in server.headers[0].items()}["authorization"] == f"Bearer {KEY}"


def test_no_more_requests_at_once_than_asked_and_samples_are_taken_as_needed(
    server: Server,
) -> None:
    taken = itertools.count()
    samples = (ask(f"{number}: slow {next(taken)}") for number in range(40))
    stream = endpoint(server, concurrency=4).sample_stream(samples, GREEDY)
    first = next(stream)
    assert next(taken) <= 5
    assert len({first.sample.uid, *(r.sample.uid for r in stream)}) == 40
    assert server.most_at_once == 4


@pytest.mark.parametrize(
    ("how", "tries"),
    [("busy", 3), ("busy until a date", 3), ("cuts the line once", 2), ("garbage once", 2),
     ("hangs once", 2)],
)  # fmt: skip
def test_what_passes_is_tried_again(server: Server, how: str, tries: int) -> None:
    found, errors = answers(endpoint(server, timeout_s=2.0, concurrency=1), [ask(f"q: {how}")])
    assert not errors
    assert found[f"q: {how}"].completions[0].text == "answer "
    times = server.times[f"q: {how}"]
    assert len(times) == tries
    if how == "busy":  # Retry-After is kept, longer than the first pause of 0.02 s
        assert all(b - a >= 0.19 for a, b in itertools.pairwise(times))


def test_what_does_not_pass_is_one_questions_error(server: Server) -> None:
    hows = ["fails", "is too long", "trickles", "busy for a day", "ok", "ok 2"]
    samples = [ask(f"q{number}: {how}") for number, how in enumerate(hows)]
    samples.append(ask("q6: ok", ImageSource(path="/nowhere/x.png")))
    found, errors = answers(endpoint(server, timeout_s=2.0, max_tries=2, concurrency=7), samples)
    assert set(found) == {"q4: ok", "q5: ok 2"}
    assert errors["q0: fails"] == "HTTP 500: no (2 tries)"
    assert server.tries["q0: fails"] == 2
    assert errors["q1: is too long"] == "HTTP 400: no"
    assert server.tries["q1: is too long"] == 1
    assert errors["q2: trickles"].startswith("no reply within 2 s")
    assert "asked to wait 86400 s" in errors["q3: busy for a day"]
    assert server.tries["q3: busy for a day"] == 1
    assert "an image cannot be read" in errors["q6: ok"]
    with pytest.raises(DataError, match="sample q1: is too long: HTTP 400"):
        list(endpoint(server).sample_stream([samples[1]], GREEDY))


def test_what_a_filter_withheld_is_no_answer(server: Server) -> None:
    late = "r: is filtered late"
    found, errors = answers(endpoint(server), [ask("q: is filtered"), ask(late)])
    assert errors == {"q: is filtered": "the server's content filter withheld the answer"}
    assert server.tries["q: is filtered"] == 1
    assert found[late].completions[0].text == "answer "


def test_an_answer_has_a_deadline_over_all_its_tries(server: Server) -> None:
    started = time.monotonic()
    options = {"deadline_s": 0.5, "timeout_s": 0.2, "max_tries": 1000}
    _, errors = answers(endpoint(server, **options), [ask("q: trickles")])
    assert errors == {"q: trickles": "no answer within 0.5 s"}
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("how", ["is forbidden", "is spent"])
def test_what_nobody_gets_past_stops_at_once_and_never_shows_the_key(
    server: Server, how: str
) -> None:
    samples = [ask(f"{number}: {how}") for number in range(100)]
    with pytest.raises(RolloutError, match="HTTP 4") as caught:
        answers(endpoint(server), samples)
    assert len(server.seen) <= 32
    assert KEY not in str(caught.value)
    assert ("***" in str(caught.value)) == (how == "is forbidden")
    assert "$PLUMBLINE_TEST_KEY" in str(caught.value)


def test_a_server_that_is_down_stops_the_run() -> None:
    closed = EndpointConfig(url="http://127.0.0.1:9/v1", model="m", max_tries=1, concurrency=4)
    with pytest.raises(RolloutError, match="32 failures in a row, the last: ConnectError"):
        answers(Endpoint(closed), [ask(str(number)) for number in range(100)])


def test_several_answers_have_seeds_of_their_own(server: Server) -> None:
    warm = Sampling(n=3, temperature=0.7, max_new_tokens=8, seed=1)
    found, _ = answers(endpoint(server), [ask("q: ok"), ask("r: ok")], warm)
    texts = [[c.text for c in found[uid].completions] for uid in ("q: ok", "r: ok")]
    assert len(set(itertools.chain(*texts))) == 6
    again, _ = answers(endpoint(server, concurrency=1), [ask("r: ok"), ask("q: ok")], warm)
    assert [[c.text for c in again[uid].completions] for uid in ("q: ok", "r: ok")] == texts


def test_reasoning_is_a_thinking_block(server: Server) -> None:
    found, _ = answers(endpoint(server), [ask("q: thinks"), ask("r: thinks too long")])
    assert found["q: thinks"].completions[0].text == "<think>a cat</think>answer "
    cut = found["r: thinks too long"].completions[0]
    assert (cut.text, cut.finish_reason) == ("<think>a cat and", "length")


def test_a_stream_left_early_ends_its_requests(server: Server) -> None:
    stream = endpoint(server).sample_stream((ask(f"{n}: slow") for n in range(1000)), GREEDY)
    next(stream)
    stream.close()
    seen = len(server.seen)
    time.sleep(0.3)
    assert len(server.seen) <= seen + 16
    assert not [t for t in threading.enumerate() if "run_forever" in t.name]


@pytest.mark.parametrize(
    "url", ["api.openai.com", "ftp://x/v1", "https://user:pw@x/v1", "https://x/v1?key=1"]
)
def test_a_url_holds_no_key(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        EndpointConfig(url=url, model="m")
