"""Why a stage stands on its parent: the scores that chose it."""

import json

import pytest

from evals.decisions.best import best
from evals.report import build_report
from evals.report.facts.choices import choice
from evals.report.run import read_run

FROM = {"grpo": {"from": "best(sft, dpo, kto)"}}


def of(run, name="grpo"):
    found = read_run(run)
    return choice(found, found.stage(name))


def select(run, stage, benchmark, value, half):
    path = run / "evals" / stage / benchmark / "result.json"
    result = json.loads(path.read_text())
    result["parts"]["select"] |= {"value": value, "interval": [value - half, value + half]}
    path.write_text(json.dumps(result))


@pytest.fixture
def run(make_run):
    run = make_run(facts=FROM)
    for stage, mme, textvqa in (("sft", 600, 0.20), ("dpo", 610, 0.30), ("kto", 620, 0.28)):
        select(run, stage, "mme", mme, 30)
        select(run, stage, "textvqa", textvqa, 0.04)
    return run


def test_the_page_compares_what_best_compares(run):
    found = of(run)
    assert [c.stage for c in found.candidates] == ["sft", "dpo", "kto"]
    assert [c.mean for c in found.candidates] == pytest.approx([0.40, 0.455, 0.45])
    decided = best({name: run / "evals" / name for name in ("sft", "dpo", "kto")})
    assert found.highest.stage == decided.stage == found.chosen.stage == "dpo"
    listed = ", ".join(f"{c.stage} {c.mean:.4f}" for c in found.candidates)
    assert decided.why.endswith(listed)
    # Two benchmarks, half widths 0.03 and 0.04 of the maximum: their mean's is 0.05 / 2.
    assert found.chosen.half == pytest.approx(0.025)


def test_the_sentence_says_who_won_and_how_sure_that_is(run):
    assert of(run).sentence == (
        "dpo has the highest mean, 0.50 points ahead of kto; their intervals overlap"
    )
    select(run, "dpo", "textvqa", 0.6, 0.04)
    assert of(run).sentence.endswith("their intervals do not overlap")
    text = build_report(run).read_text()
    assert "Why from <bdi>dpo</bdi>?" in text
    assert '<tr class="picked"><th scope="row"><bdi>dpo</bdi> <small' in text
    assert "n = 24" in text


def test_a_choice_that_the_figures_no_longer_bear_out_is_told(run):
    select(run, "sft", "textvqa", 0.9, 0.04)
    assert of(run).sentence.startswith("dpo was chosen, but sft has the highest mean now")


def test_a_parent_that_is_not_the_best_on_the_page_is_explained(run):
    assert of(run).surprise == ""
    for stage, mme, textvqa in (("sft", 600, 0.20), ("dpo", 610, 0.25), ("kto", 620, 0.28)):
        for benchmark, value in (("mme", mme), ("textvqa", textvqa)):
            path = run / "evals" / stage / benchmark / "result.json"
            result = json.loads(path.read_text())
            result["parts"]["report"] |= {"value": value}
            path.write_text(json.dumps(result))
    assert of(run).surprise == (
        "dpo, though kto scores higher in this table on average: the parent was chosen on other "
        "questions (select part), a near tie: 45.50\u202f% of the maximum against 45.00\u202f%"
    )
    assert "<bdi>grpo</bdi> comes from <bdi>dpo, though kto" in build_report(run).read_text()


def test_a_stage_that_was_rolled_back_is_stood_for(make_run):
    run = make_run(facts=FROM | {"kto": {"rolled_back_to": "sft"}})
    assert [c.stage for c in of(run).candidates] == ["sft", "dpo"]


def test_without_a_choice_there_is_none(make_run):
    run = make_run()
    assert of(run) is None
    assert of(make_run(facts={"grpo": {"from": "dpo"}})) is None
    (run / "evals" / "kto" / "mme" / "result.json").unlink()
    (run / "evals" / "kto" / "textvqa" / "result.json").unlink()
    assert of(make_run(facts={"grpo": {"from": "best(sft, gone)"}})) is None
