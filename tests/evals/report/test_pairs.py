"""Any two stages: the same test as everywhere, from the stored answers."""

import json

import pytest

from evals.asking.responses import HEADER
from evals.report import build_report
from evals.report.facts.pairs import pairs
from evals.report.run import read_run
from evals.scoring.compare import compare_sides, open_side


def of(run):
    (run / "report").mkdir(exist_ok=True)
    return pairs(read_run(run), run / "report")


@pytest.fixture
def run(make_run):
    run = make_run(stages=("base", "sft", "dpo", "kto"))
    for path in run.glob("evals/*/*/result.json"):
        folder = path.parent
        header = {"benchmark": folder.name, "version": "1", "settings": {"data_fingerprint": "d"}}
        header["settings"] |= {"prompt_hash": "p", "temperature": 0.0}
        (folder / HEADER).write_text(json.dumps(header | {"weights": "w"}))
    return run


def test_a_pair_has_the_figures_that_compare_gives(run):
    found = of(run)
    assert list(found) == ["mme", "textvqa"]
    assert len(found["mme"]) == 6
    told = compare_sides([open_side(f"{run}:dpo"), open_side(f"{run}:kto")])
    for row in told["comparisons"][0]["benchmarks"]:
        one = found[row["benchmark"]]["kto", "dpo"]
        assert one.difference == row["difference"]
        assert list(one.interval) == row["interval"]
        assert (one.p_holm, one.verdict) == (row["p_holm"], row["verdict"])


def test_the_page_holds_them_and_the_command_for_more(run):
    text = build_report(run).read_text()
    assert "Any two stages of <bdi>mme</bdi>" in text
    assert "plumbline compare runs/quickstart:STAGE runs/quickstart:STAGE" in text
    kept = run / "report" / "data" / "mme" / "pairs.json"
    before = kept.stat().st_mtime_ns
    build_report(run)
    assert kept.stat().st_mtime_ns == before


def set_pixels(run, stage, most):
    path = run / "evals" / stage / "mme" / "result.json"
    value = json.loads(path.read_text())
    value["settings"]["max_pixels"] = most
    path.write_text(json.dumps(value))


def test_unequal_settings_and_other_questions_are_not_tested(run):
    set_pixels(run, "kto", 1)
    path = run / "evals" / "dpo" / "textvqa" / "responses.jsonl"
    path.write_text(path.read_text().replace("report-0003-1", "report-9999-1"))
    found = of(run)
    assert list(found["mme"]) == [("sft", "base"), ("dpo", "base"), ("dpo", "sft")]
    assert list(found["textvqa"]) == [("sft", "base"), ("kto", "base"), ("kto", "sft")]
    assert "not tested" in build_report(run).read_text()


def test_stages_are_tested_under_settings_that_are_not_the_first_ones(run):
    set_pixels(run, "base", 1)
    set_pixels(run, "kto", 1)
    assert list(of(run)["mme"]) == [("kto", "base"), ("dpo", "sft")]
