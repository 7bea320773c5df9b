"""Reward against benchmark, skills, and what the page says of both."""

import json

import pytest

from evals.report import build_report
from evals.report.answers.skills import in_words, skills
from evals.report.answers.turned import Turned
from evals.report.display.charts import scale_of
from evals.report.facts.progress import progress
from evals.report.facts.rows import rows
from evals.report.facts.sentences import verdicts
from evals.report.facts.spent import total_cost
from evals.report.records import Comparison, Flips, Result
from evals.report.run import read_run
from evals.report.sections.stages import overview


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


def compared(run, stage: str, benchmark: str, **what) -> None:
    """Changes the comparison with the parent on both parts."""
    path = run / "evals" / stage / benchmark / "result.json"
    result = json.loads(path.read_text())
    for part in ("select", "report"):
        result["comparisons"]["parent"][part] |= what
    path.write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("difference", "p_value", "verdict", "mood"),
    [
        (-0.4, 0.001, "worse", "worse"),
        (0.4, 0.001, "better", "better"),
        (-0.01, 0.6, "no evidence", "plain"),
    ],
)
def test_a_reward_that_rises_over_a_falling_benchmark_is_named(
    make_run, difference, p_value, verdict, mood
):
    run = make_run(benchmarks=("textvqa",))
    compared(run, "grpo", "textvqa", difference=difference, p_value=p_value, verdict=verdict)
    grpo = progress(read_run(run))[-1]
    assert grpo.mood == mood
    assert f"; textvqa {verdict}, " in grpo.sentence
    assert ("reward hacking" in grpo.sentence) is (mood == "worse")
    assert "the mean reward rose from" in build_report(run).read_text()


def test_cards_sentences_and_reward_say_the_same_of_a_stage(make_run):
    """A rise whose own intervals overlap but that the paired test shows: better everywhere; one
    that Holm takes back: no evidence everywhere."""
    run = make_run()
    compared(run, "dpo", "textvqa", difference=0.02, p_value=0.001, verdict="better")
    compared(run, "dpo", "mme", difference=20.0, p_value=0.04, verdict="better")
    compared(run, "kto", "mme", difference=20.0, p_value=0.04, verdict="better")
    compared(run, "kto", "textvqa", difference=0.01, p_value=0.04, verdict="better")
    found = read_run(run)
    for stage, mme in (("dpo", "better"), ("kto", "no evidence")):
        row = {row.benchmark: row for row in rows(found) if row.stage == stage}
        (beside,) = (item for item in progress(found) if item.stage.name == stage)
        told = {line.benchmark: line.verdict for line in beside.lines}
        (words,) = (
            sentence for sentence in verdicts(found, rows(found)) if sentence.stage == stage
        )
        assert told == {name: one.parent.verdict for name, one in row.items()}
        assert told["mme"] == words.clauses[0].mood == mme


def test_text_and_chart_take_the_same_mean(make_run):
    for item in progress(read_run(make_run())):
        assert f" to {item.curve.last}; " in item.sentence


def test_ktos_objective_is_the_difference_of_its_two_rewards(make_run):
    run = make_run()
    path = run / "stages" / "kto" / "metrics.jsonl"
    lines = [
        {"step": step, "rewards/chosen": 0.02 * step, "rewards/rejected": -0.01 * step}
        for step in range(1, 61)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (kto,) = (item for item in progress(read_run(run)) if item.stage.name == "kto")
    assert kto.objective == "rewards/margins"
    assert kto.sentence.startswith("the margin between chosen and rejected answers rose from 0.1")


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
    assert in_words(found) == [
        "better on color (40 became right, 5 no longer right)",
        "worse on position (2 became right, 30 no longer right)",
    ]
    assert in_words(found[2:]) == ["no evidence that any category changed"]
    graded = {"color": Turned(became=30, rose=10, ceased=5)}
    assert in_words(found, graded)[0] == (
        "better on color (30 became right, 10 rose in part, 5 no longer right)"
    )


def test_a_stage_in_words_says_skill_form_and_cost(make_run):
    run = read_run(make_run())
    build_report(run.root)
    summaries = {
        name: json.loads((run.root / "report" / "data" / name / "summary.json").read_text())
        for name in run.benchmarks
    }
    costs = {item.stage.name: item for item in total_cost(run).stages}
    words = {
        item.stage.name: item for item in overview(run, rows(run), summaries, costs, progress(run))
    }
    assert [name for name, _ in words["grpo"].skills] == ["mme", "textvqa"]
    assert words["sft"].why[0][1].startswith("answered: ")
    assert words["grpo"].cost.startswith("1 min 36 s, 60 steps, 246")
    assert words["pairs"].clauses[0].text.startswith("sampled answers from sft")


def test_one_difference_far_beyond_the_others_does_not_hide_them():
    assert scale_of([589.0, 7.0, 3.0, 23.0]) == 23.0
    assert scale_of([30.0, 7.0]) == 30.0
    assert scale_of([0.0]) == 1.0
