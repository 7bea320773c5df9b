"""Files of any content, and folders where files are wanted: one line and exit code 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evals.conftest import mme_folder  # noqa: F401
from tests.evals.report.conftest import make_run  # noqa: F401
from tests.evals.scoring.test_compare import data, runs  # noqa: F401
from tests.recipes.test_bad_input import command

BINARY = bytes(range(256)) * 8
ROW = {"sample_id": "a", "response": "3", "references": ["3"]}
CONTENTS = {
    "empty": b"",
    "blank": b"\n \n",
    "binary": BINARY,
    "broken on line 2": json.dumps(ROW).encode() + b"\n{no json\n",
    "no object": b"7\n",
    "UTF-16": json.dumps(ROW).encode("utf-16"),
    "nul": json.dumps(ROW).encode() + b"\n\0\0",
    "nan": b'{"sample_id": NaN, "response": NaN, "references": [NaN]}',
    "nulls": b'{"sample_id": null, "response": null, "references": null}',
    "deep": b"[" * 100_000,
    "twice": (json.dumps(ROW) + "\n").encode() * 2,
}


def told(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert ". " in lines[0], f"says not what to do: {lines[0]}"
    return lines[0]


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("benchmark", ["gsm8k", "pope", "mmmu"])
def test_responses_of_any_content(
    content: str,
    benchmark: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r ü水.jsonl").write_bytes(CONTENTS[content])
    assert command("score", benchmark, "r ü水.jsonl") == 2
    assert "r ü水.jsonl" in told(capsys)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_line_ends_are_no_fault(
    mark: bytes, end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"response": "Yes.", "references": ["yes"]}
    rows = [json.dumps({"sample_id": name, **said}) + end for name in "ab"]
    (tmp_path / "r.jsonl").write_bytes(mark + "".join(rows).encode())
    assert command("score", "pope", str(tmp_path / "r.jsonl")) == 0
    assert json.loads(capsys.readouterr().out)["items"][1]["score"] == 1.0


@pytest.mark.parametrize(
    "words",
    [
        ("score", "gsm8k", "gone.jsonl"),
        ("score", "gsm8k", "folder"),
        ("score", "gsm8k", "file/x.jsonl"),
        ("score", "gone.yaml", "file"),
        ("score", "folder", "file"),
        ("score", "./gone.py:Mine", "file"),
        ("plan", "gone.yaml"),
        ("plan", "folder"),
        ("plan", "file"),
        ("overlap", "gone.yaml"),
        ("report", "gone"),
        ("report", "file"),
        ("report", "folder"),
        ("gate", "gone"),
        ("gate", "folder"),
        ("compare", "gone", "folder"),
        ("compare", "folder", "gone"),
        ("scenes", "file"),
        ("scenes", "file/x"),
        ("scenes", "/proc/x"),
        ("tiny", "file"),
        ("tiny", "/proc/x"),
        ("tiny", "t", "--family", "qwen3vl"),
        ("tiny", "t", "--size", "huge"),
        ("list", "reward"),
        ("eval", "--benchmark", "mme=x", "--out", "o"),
        ("eval", "folder", "--benchmark", "mme", "--out", "o"),
    ],
)
def test_paths_that_are_not_what_is_wanted(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(BINARY)
    assert command(*words) == 2
    told(capsys)


WHOLE = (b"", BINARY, b"7\n", b"[1, 2]\n", b'{"benchmark": null}\n', None)


def spoil(file: Path, content: bytes | None) -> None:
    """Another content, or (None) a folder of that name."""
    file.unlink(missing_ok=True)
    if content is None:
        file.mkdir(parents=True)
    else:
        file.write_bytes(content)


@pytest.mark.parametrize("name", ["responses.jsonl", "responses.header.json"])
def test_a_comparison_with_broken_answers(
    name: str,
    runs: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = runs / "a" / "evals" / "sft" / "mme" / name
    good = file.read_bytes()
    third = b"\n".join([*good.split(b"\n")[:2], b"{no json", good])
    for content in (*WHOLE, third):
        if (content, name) == (b"", "responses.jsonl"):
            continue  # no answers yet: an empty comparison
        spoil(file, content)
        assert command("compare", f"{runs}/a:sft", f"{runs}/b") == 2, content
        assert str(file) in told(capsys)
        if content is None:
            file.rmdir()
    file.write_bytes(b"\xef\xbb\xbf" + good.replace(b"\n", b"\r\n"))
    assert command("compare", f"{runs}/a:sft", f"{runs}/b") == 0


@pytest.mark.parametrize(
    "name",
    [
        "evals/sft/mme/responses.jsonl",
        "evals/sft/mme/result.json",
        "evals/sft/mme/scores.jsonl",
        "stages/sft/metrics.jsonl",
        "stages/sft/stage.json",
        "config.yaml",
        "env.json",
        "events.jsonl",
    ],
)
def test_a_report_of_a_run_with_a_broken_file(
    name: str,
    make_run: Callable[..., Path],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What can be read is shown; the rest is named on the page. A gate without its result is no
    pass.
    """
    run = make_run(stages=("base", "sft"), benchmarks=("mme",))
    is_needed = name.endswith("result.json")
    for content in WHOLE:
        spoil(run / name, content)
        assert command("gate", str(run)) == (2 if is_needed else 0), content
        if (run / "config.yaml").is_file():
            assert command("report", str(run)) == 0, content
    told = capsys.readouterr().err.splitlines()
    assert len(told) == (len(WHOLE) if is_needed else 0)
    assert all("the gate could not read everything: " in line for line in told)


def test_a_report_where_no_file_can_be(
    make_run: Callable[..., Path],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run()
    assert command("report", str(run), "--out", str(run / "config.yaml")) == 2
    assert "the folder cannot be written" in told(capsys)
    shutil.rmtree(run / "report", ignore_errors=True)
    for port in ("-1", "99999999"):
        assert command("report", str(run), "--serve", "--port", port) == 2
        assert f"port {port}: a port is 0 to 65535" in told(capsys)
    assert command("report", str(run), "--format", "hff") == 2
    assert "hff" in told(capsys)
