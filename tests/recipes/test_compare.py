"""`plumbline compare`: forms of output, exit codes."""

import json
import sys
from pathlib import Path

import pytest

from recipes.cli import main as cli
from tests.evals.conftest import mme_folder  # noqa: F401
from tests.evals.scoring.test_compare import data, runs  # noqa: F401


def plumbline(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["plumbline", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_three_forms(
    runs: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    models = (f"{runs}/a:base", f"{runs}/a:sft", f"{runs}/b")
    assert plumbline(monkeypatch, "compare", *models) == 0
    shown = capsys.readouterr().out
    assert "against a:base, report part" in shown
    assert shown.count("better") == 2
    monkeypatch.setenv("COLUMNS", "80")
    assert plumbline(monkeypatch, "compare", *models) == 0
    narrow = capsys.readouterr().out
    assert "…" not in narrow
    assert "sign test" in narrow
    assert narrow.count("better") == 2
    assert plumbline(monkeypatch, "compare", *models, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["comparisons"]) == 2
    assert plumbline(monkeypatch, "compare", *models, "--markdown") == 0
    text = capsys.readouterr().out
    assert text.startswith("## against a:base, report part\n\n| model | benchmark |")
    assert "| a:sft | textvqa | 30 (30) |" in text


def test_refused_is_exit_2_and_forced_is_marked(
    runs: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    header = runs / "b/evals/base/mme/responses.header.json"
    facts = json.loads(header.read_text())
    facts["settings"]["max_pixels"] = 64
    header.write_text(json.dumps(facts))
    models = (f"{runs}/a:base", f"{runs}/b")
    assert plumbline(monkeypatch, "compare", *models, "--markdown") == 2
    told = capsys.readouterr()
    assert "**not compared**" in told.out
    assert "**b:base, mme: max\\_pixels differs: 16384 and 64**" in told.out
    assert told.err == (
        "plumbline: not compared: b:base, mme: max_pixels differs: 16384 and 64. "
        "Give --force to see it with a red mark\n"
    )
    assert plumbline(monkeypatch, "compare", *models, "--markdown", "--force") == 0
    assert "unequal settings**" in capsys.readouterr().out


def test_mistakes_are_one_line(
    runs: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words, said in (
        (("nowhere", f"{runs}/a"), "nowhere: no evaluated run; expected a folder with evals/"),
        ((f"{runs}/a:dpo", f"{runs}/a"), 'no evaluated stage "dpo"; expected base, sft'),
        ((f"{runs}/a",), "one model alone"),
        ((f"{runs}/a", f"{runs}/b", "--part", "test"), "--part test; expected report or select"),
        ((f"{runs}/a", f"{runs}/b", "--profile", "offical"), "unknown profile 'offical'"),
    ):
        assert plumbline(monkeypatch, "compare", *words) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1
