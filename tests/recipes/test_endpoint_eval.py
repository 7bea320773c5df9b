"""`plumbline eval --endpoint` against a real HTTP server: the same run folder, table and resume as
with local engines; the key is nowhere.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from evals.data.items import Item
from evals.registry import get_benchmark
from recipes.cli.main import app
from recipes.running.answering import open_judge
from recipes.running.prepare import open_benchmarks
from recipes.schema.recipe import recipe_of
from rl.errors import ConfigError
from tests.rollouts.test_endpoint import KEY, Server


class Oracle(Server):
    """Answers a known question about its picture as `known` says and every other with "red", but
    for the first three times with an error.
    """

    def __init__(self) -> None:
        super().__init__()
        outer = self
        self.known: list[tuple[Item, str]] = []

        class Handler(self.RequestHandlerClass):  # type: ignore[misc, name-defined]
            def _answer(self, how: str, number: int, body: dict[str, Any]) -> None:
                if len(outer.seen) <= 3:
                    return self._send(503, {"error": {"message": "warming up"}})
                self._send(200, self._completion(how, number, body))

            def _completion(self, how: str, number: int, body: dict[str, Any]) -> dict[str, Any]:
                found: dict[str, Any] = super()._completion(how, number, body)
                found["choices"][0]["message"]["content"] = outer.answer_to(body)
                return found

        self.RequestHandlerClass = Handler

    def answer_to(self, body: dict[str, Any]) -> str:
        """The answer to the question of these words whose picture is nearest."""
        content = body["messages"][-1]["content"]
        if isinstance(content, str):
            return "red"
        image, text = content
        sent = small(sent_image(image))
        return min(
            (float(((sent - small(item.sample.images[0].read())) ** 2).sum()), number, answer)
            for number, (item, answer) in enumerate(self.known)
            if item.sample.messages[0].text == text["text"]
        )[2]


def sent_image(part: dict[str, Any]) -> bytes:
    return base64.b64decode(part["image_url"]["url"].partition(",")[2])


def small(data: bytes) -> NDArray[np.float64]:
    with PIL.Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((16, 16)), dtype=np.float64)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Oracle]:
    monkeypatch.setattr("rollouts.endpoint._FIRST_PAUSE_S", 0.02)
    monkeypatch.setenv("MY_KEY", KEY)
    server = Oracle()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_endpoint_stands_in_the_same_table(
    oracle: Oracle, scene_data: Path, tmp_path: Path
) -> None:
    """Every question has an answer of its own, half of them right: none goes astray."""
    items = get_benchmark("textvqa").load(scene_data / "textvqa", limit=12)
    oracle.known = [
        (item, item.sample.references[0] if number % 2 else f"none {number}")
        for number, item in enumerate(items)
    ]
    out = tmp_path / "closed"
    command = ["eval", "--endpoint", oracle.url, "--model", "gpt-test-2026-01-01"]
    command += ["--key-env", "MY_KEY", "--benchmark", f"textvqa={scene_data / 'textvqa'}"]
    command += ["--out", str(out), "--limit", "12", "--max-pixels", "1024", "--resume"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    folder = out / "evals/base/textvqa"
    rows = [json.loads(line) for line in (folder / "responses.jsonl").read_text().splitlines()]
    wanted = {item.sample.uid: answer for item, answer in oracle.known}
    assert {row["sample_id"]: row["response"] for row in rows} == wanted
    assert len(rows) == len(items) > 20
    assert rows[0]["num_tokens"] == 5
    assert rows[0]["prompt_tokens"] == 70
    result = json.loads((folder / "result.json").read_text())
    assert result["weights"] == f"gpt-test-2026-01-01 at {oracle.url}"
    assert result["settings"]["backend"] == f"endpoint {oracle.url}"
    assert result["parts"]["report"]["errors"] == 0
    report = [item.sample.uid for item in items if item.part == "report"]
    num_right = sum(not wanted[uid].startswith("none") for uid in report)
    assert 0 < num_right < len(report)
    assert result["parts"]["report"]["value"] == pytest.approx(num_right / len(report))
    assert (out / "report/index.html").exists()
    board = (out / "report/leaderboard.md").read_text()
    assert f"| base | {100 * num_right / len(report):.1f}\u202f% [" in board
    for body in oracle.seen:
        with PIL.Image.open(io.BytesIO(sent_image(body["messages"][-1]["content"][0]))) as sent:
            assert sent.width * sent.height <= 1024
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not [path for path in written if KEY.encode() in path.read_bytes()]

    asked = len(oracle.seen)
    again = CliRunner().invoke(app, command, catch_exceptions=False)
    assert again.exit_code == 0
    assert len(oracle.seen) == asked


def test_whom_to_ask_is_said_once(tmp_path: Path) -> None:
    for words in ([], ["model", "--endpoint", "http://x/v1"], ["--endpoint", "http://x/v1"]):
        command = ["eval", *words, "--benchmark", "mme=x", "--out", str(tmp_path / "x")]
        with pytest.raises(ConfigError, match="MODEL, or --endpoint URL --model NAME"):
            CliRunner().invoke(app, command, catch_exceptions=False)


def test_an_endpoint_trains_nothing_and_a_judge_is_one_of_two() -> None:
    there = {"url": "http://x/v1", "model": "m"}
    page: dict[str, Any] = {"model": {"path": "m"}, "evals": {"endpoint": there}}
    stage = {"name": "sft", "algorithm": "sft", "data": [{"path": "x"}]}
    with pytest.raises(ConfigError, match="for an evaluation alone"):
        recipe_of({**page, "stages": [stage]})
    for judge in ({}, {"path": "j", "endpoint": there}):
        with pytest.raises(ConfigError, match="one of the two"):
            recipe_of({"model": {"path": "m"}, "evals": {"judge": judge}})
    with pytest.raises(ConfigError, match="the judge must be an endpoint too"):
        recipe_of({**page, "evals": {"endpoint": there, "judge": {"path": "j"}}})


def test_a_judge_at_an_endpoint_is_asked_once(oracle: Oracle, tmp_path: Path) -> None:
    there = {"url": oracle.url, "model": "judge-2026-01-01", "key_env": "MY_KEY"}
    recipe = recipe_of({"model": {"path": "m"}, "evals": {"judge": {"endpoint": there}}})
    for _ in range(2):
        judge = open_judge(recipe, tmp_path, None)
        assert judge is not None
        assert [said.text for said in judge.ask(["Is it red?", "Is it blue?"])] == ["red", "red"]
        assert judge.identity.revision == f"judge-2026-01-01 at {oracle.url}"
    assert len({body["messages"][0]["content"] for body in oracle.seen}) == 2
    assert len(oracle.seen) == 5  # three of them refused
    assert KEY not in (tmp_path / "judgements.jsonl").read_text()


def test_a_rule_that_needs_a_judge_says_so_before_anything_starts(
    scene_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evals.benchmarks.textvqa.TextVQA.needs_judge", True)
    there = {"url": "http://x/v1", "model": "m"}
    benchmarks = [{"name": "textvqa", "path": str(scene_data / "textvqa"), "limit": 2}]
    page: dict[str, Any] = {"model": {"path": "m"}, "evals": {"benchmarks": benchmarks}}
    with pytest.raises(ConfigError, match=r"evals.benchmarks.textvqa: its rule needs a judge"):
        open_benchmarks(recipe_of(page))
    page["evals"]["judge"] = {"endpoint": there}
    assert len(open_benchmarks(recipe_of(page))) == 1
