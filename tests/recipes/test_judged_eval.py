"""`plumbline eval` with a judge at a real HTTP server: a judge that is down is no score of 0, and
--resume asks it again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evals.scoring.compare import compare_sides, open_side
from recipes.cli.main import app
from rl.errors import ConfigError, EvalError
from tests.evals.benchmarks.test_benchmarks import example_rows
from tests.evals.conftest import mme_rows, write_parquet
from tests.rollouts.test_endpoint import Server

GRADE, ERRORS = "0.7", "14 of 14 answers are errors"


class Judged(Server):
    """Answers every question; grades answers unless `is_down`, or only the first `up_to`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down, self.up_to = False, 1_000_000
        outer = self

        class Handler(self.RequestHandlerClass):  # type: ignore[misc, name-defined]
            def _answer(self, how: str, number: int, body: dict[str, Any]) -> None:
                is_judge = body["model"] == "judge-1"
                with outer.lock:
                    outer.up_to -= is_judge
                if is_judge and (outer.is_down or outer.up_to < 0):
                    return self._send(400, {"error": {"message": "no judge today"}})
                found = self._completion(how, number, body)
                words = GRADE if is_judge else f"x = {body.get('seed', 5)}"
                found["choices"][0]["message"]["content"] = words
                self._send(200, found)

        self.RequestHandlerClass = Handler

    def asked(self, model: str) -> int:
        return sum(body["model"] == model for body in self.seen)


@pytest.fixture
def server() -> Iterator[Judged]:
    server = Judged()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def evaluate(server: Judged, tmp_path: Path, *more: str) -> None:
    """14 questions, judged; raises what the command raises."""
    data = tmp_path / "mmvet.parquet"
    if not data.exists():
        write_parquet(data, example_rows("mmvet", 14))
    there = f"evals.judge.endpoint={{url: '{server.url}', model: judge-1}}"
    command = ["eval", "--endpoint", server.url, "--model", "gpt-1", "-b", f"mmvet={data}"]
    command += ["--out", str(tmp_path / "run"), "--set", there, *more]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def result(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "run/evals/base/mmvet/result.json").read_text())
    return found


def test_a_judge_that_is_down_fails_the_run_and_resume_asks_it_again(
    server: Judged, tmp_path: Path
) -> None:
    server.is_down = True
    for more in ((), ("--resume",)):
        with pytest.raises(EvalError, match=rf"{ERRORS}.*judge_error: HTTP 400: no judge today"):
            evaluate(server, tmp_path, *more)
    assert not (tmp_path / "run/evals/base/mmvet/result.json").exists()
    assert (server.asked("gpt-1"), server.asked("judge-1")) == (14, 2)  # equal prompts are one
    server.is_down = False
    evaluate(server, tmp_path, "--resume")
    assert (server.asked("gpt-1"), server.asked("judge-1")) == (14, 3)
    parts = result(tmp_path)["parts"].values()
    assert [part["value"] for part in parts] == pytest.approx([0.7] * 2)
    assert sum(part["errors"] for part in parts) == 0
    evaluate(server, tmp_path, "--resume")
    assert len(server.seen) == 17


def test_a_judge_that_fails_at_one_of_several_answers_is_asked_again(
    server: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the share of errors that a run may have: finished, and still not current."""
    several = ("-n", "3", "--temperature", "1", "--resume")
    server.up_to = 41
    with pytest.raises(EvalError, match="1 of 42 answers are errors"):
        evaluate(server, tmp_path, *several)
    monkeypatch.setattr("evals.scoring.results.MAX_ERROR_SHARE", 0.05)
    server.is_down = True
    evaluate(server, tmp_path, *several)
    assert result(tmp_path)["parts"]["report"]["accuracy"] == pytest.approx(0.7)
    server.is_down, server.up_to = False, 1
    evaluate(server, tmp_path, *several)
    assert (server.asked("gpt-1"), server.asked("judge-1")) == (42, 44)
    asked = len(server.seen)
    evaluate(server, tmp_path, *several)
    assert len(server.seen) == asked


def test_what_every_request_says_besides_is_a_setting_and_part_of_the_judge(
    server: Judged, tmp_path: Path
) -> None:
    evaluate(server, tmp_path)
    before = len(server.seen)
    assert "extra" not in result(tmp_path)["settings"]
    low = ("--set", "evals.endpoint.extra={reasoning_effort: low}")
    high = ("--set", "evals.judge.endpoint.extra={reasoning_effort: high}")
    evaluate(server, tmp_path, *low, *high, "--out", str(tmp_path / "other"))
    told = json.loads((tmp_path / "other/evals/base/mmvet/result.json").read_text())
    assert told["settings"]["extra"] == {"reasoning_effort": "low"}
    assert told["settings"]["backend"] == f"endpoint {server.url}"
    assert told["judge"]["extra"] == {"reasoning_effort": "high"}
    efforts = {(body["model"], body["reasoning_effort"]) for body in server.seen[before:]}
    assert efforts == {("gpt-1", "low"), ("judge-1", "high")}
    assert unequal(tmp_path) == ["judge", "extra"]


def unequal(tmp_path: Path) -> list[str]:
    sides = [f"{tmp_path}/run:base", f"{tmp_path}/other:base"]
    found = compare_sides([open_side(side) for side in sides])
    return [item["key"] for item in found["comparisons"][0]["benchmarks"][0]["unequal"]]


def test_a_benchmark_with_code_may_name_its_data_itself(server: Judged, tmp_path: Path) -> None:
    write_parquet(tmp_path / "rows.parquet", mme_rows(0, 8))
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from evals.benchmarks.mme import MME\n\n\nclass Mine(MME):\n"
        f"    id = 'mine'\n    default_path = {str(tmp_path / 'rows.parquet')!r}\n"
    )
    command = ["eval", "--endpoint", server.url, "--model", "gpt-1", "-b", f"{mine}:Mine"]
    command += ["--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run/evals/base/mine/result.json").read_text())["parts"]
    with pytest.raises(ConfigError, match="expected name=path, a YAML file"):
        CliRunner().invoke(app, [*command[:6], "mme", *command[7:]], catch_exceptions=False)
