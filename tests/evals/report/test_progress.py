"""Reward against benchmark, skills, and what the page says of both."""

import json

import pytest

from evals.report import build_report
from evals.report.charts import scale_of
from evals.report.leaderboard import rows
from evals.report.overview import overview
from evals.report.progress import progress
from evals.report.records import Comparison, Flips, Result
from evals.report.run import read_run
from evals.report.skills import in_words, skills
from evals.report.training import training


def test_a_stage_with_a_reward_has_it_beside_begin_and_end_of_each_benchmark(make_run):
    found = {item.stage.name: item for item in progress(read_run(make_run()))}
    assert list(found) == ["dpo", "kto", "grpo"]
    grpo = found["grpo"]
    assert grpo.objective == "reward"
    assert [line.benchmark for line in grpo.lines] == ["mme", "textvqa"]
    assert [(p.step, line.part) for line in grpo.lines[:1] for p in line.points] == [
        (0, "report"),
        (60, "report"),
    ]


def test_checkpoints_inside_a_stage_are_points_of_the_select_part(make_run):
    run = make_run()
    source = run / "evals" / "sft" / "mme" / "result.json"
    for step in (20, 40):
        folder = run / "stages" / "grpo" / "evals" / f"step-{step:06d}" / "mme"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(source.read_text())
    found = {item.stage.name: item for item in progress(read_run(run))}
    (mme,) = (line for line in found["grpo"].lines if line.benchmark == "mme")
    assert (mme.part, [point.step for point in mme.points]) == ("select", [0, 20, 40, 60])


@pytest.mark.parametrize(
    ("before", "after", "mood"), [(0.8, 0.4, "worse"), (0.4, 0.8, "better"), (0.6, 0.59, "plain")]
)
def test_a_reward_that_rises_over_a_falling_benchmark_is_named(make_run, before, after, mood):
    run = make_run(benchmarks=("textvqa",))
    for stage, value in (("dpo", before), ("grpo", after)):
        path = run / "evals" / stage / "textvqa" / "result.json"
        result = json.loads(path.read_text())
        result["parts"]["report"] |= {"value": value, "interval": [value - 0.02, value + 0.02]}
        path.write_text(json.dumps(result))
    grpo = progress(read_run(run))[-1]
    assert grpo.mood == mood
    assert ("reward hacking" in grpo.sentence) is (mood == "worse")
    assert "reward went from" in build_report(run).read_text()


def test_a_skill_is_named_only_beyond_chance():
    flips = {
        "color": Flips(wrong_to_right=40, right_to_wrong=5),
        "count": Flips(wrong_to_right=3, right_to_wrong=1),
        "position": Flips(wrong_to_right=2, right_to_wrong=30),
    }
    result = Result.model_validate({"schema": 1, "benchmark": "mme", "stage": "sft"})
    found = skills(Comparison(flips_by_category=flips), result, None)
    assert {skill.category: skill.verdict for skill in found} == {
        "color": "better",
        "count": "no evidence",
        "position": "worse",
    }
    assert in_words(found) == "gained on color (40 won, 5 lost); lost on position (2 won, 30 lost)"
    assert in_words(found[2:]) == "no category changed beyond chance"


def test_a_stage_in_words_says_skill_form_and_cost(make_run):
    run = read_run(make_run())
    build_report(run.root)
    summaries = {
        name: json.loads((run.root / "report" / "data" / name / "summary.json").read_text())
        for name in run.benchmarks
    }
    trained = [found for stage in run.stages if (found := training(stage))]
    words = {
        item.stage.name: item
        for item in overview(run, rows(run), summaries, trained, progress(run))
    }
    assert [name for name, _ in words["grpo"].skills] == ["mme", "textvqa"]
    assert words["sft"].why[0][1].startswith("form: ")
    assert words["grpo"].cost.startswith("1 min 36 s, 60 steps, 246")
    assert words["pairs"].clauses[0].text.startswith("drew answers from sft")


def test_one_difference_far_beyond_the_others_does_not_hide_them():
    assert scale_of([589.0, 7.0, 3.0, 23.0]) == 23.0
    assert scale_of([30.0, 7.0]) == 30.0
    assert scale_of([0.0]) == 1.0
