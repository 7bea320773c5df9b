"""What a run cost: every part of a stage counts, and work done twice is told apart."""

import json

import pytest

from evals.report import build_report
from evals.report.facts.spent import Part, stage_cost, total_cost
from evals.report.facts.training import training
from evals.report.run import read_run

T = 1.79e9


def events(run, *told):
    lines = [{"time": T + time, "event": event, **more} for time, event, more in told]
    (run / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def of(run, name):
    found = read_run(run)
    return stage_cost(found, found.stage(name))


def stopped_and_resumed(run):
    """sft is stopped after 100 s at step 20, a night passes, and it goes on for 96.5 s."""
    events(
        run,
        (0, "run_started", {}),
        (30, "engines_up", {}),
        (72, "evaluated", {"stage": "base", "seconds": 42.0}),
        (72, "stage_started", {"stage": "sft"}),
        (172, "run_stopped", {"message": "stopped by SIGTERM"}),
        (40_000, "run_started", {}),
        (40_020, "engines_up", {}),
        (40_020, "stage_started", {"stage": "sft"}),
        (40_020.1, "stage_resumed", {"stage": "sft", "step": 20}),
        (40_116.5, "stage_finished", {"stage": "sft", "seconds": 96.5}),
        (40_120, "run_finished", {}),
    )


def test_a_stage_that_was_interrupted_is_summed_over_its_parts(make_run):
    run = make_run(stages=("base", "sft"))
    stopped_and_resumed(run)
    sft = of(run, "sft")
    assert sft.parts == (Part(100.0, "stopped", 0, 20), Part(96.5, "finished", 20, 60))
    assert sft.seconds == 196.5
    assert not sft.is_at_least
    total = total_cost(read_run(run))
    assert total.attempts == 2
    assert total.engines == pytest.approx(50)
    assert total.seconds == pytest.approx(172 + 120)  # the night between counts nothing
    assert sum(item.seconds for item in total.stages) + total.engines + total.rest == pytest.approx(
        total.seconds
    )


def test_the_page_and_the_leaderboard_show_the_sum_and_each_part(make_run):
    run = make_run(stages=("base", "sft"))
    stopped_and_resumed(run)
    text = build_report(run).read_text()
    assert "3 min 16 s in 2 parts (1 min 40 s + 1 min 36 s)" in text
    assert "part 1, stopped" in text
    assert "1 to 20" in text
    assert "21 to 60" in text
    told = json.loads((run / "report" / "leaderboard.json").read_text())
    assert {stage["name"]: stage["seconds"] for stage in told["stages"]}["sft"] == 196.5


def test_steps_done_twice_are_told_apart_and_their_tokens_count(make_run):
    run = make_run(stages=("base", "sft"))
    events(
        run,
        (0, "run_started", {}),
        (10, "stage_started", {"stage": "sft"}),
        (60, "checkpoint_removed", {"stage": "sft"}),  # the last word before kill -9
        (500, "run_started", {}),
        (510, "stage_started", {"stage": "sft"}),
        (510.2, "stage_resumed", {"stage": "sft", "step": 40}),
        (
            510.3,
            "steps_redone",
            {
                "stage": "sft",
                "after": 40,
                "steps": 15,
                "time/step_s": 24.0,
                "tokens/trained": 13_500.0,
                "tokens/forward": 61_500.0,
            },
        ),
        (600, "stage_finished", {"stage": "sft", "seconds": 90.0}),
        (601, "run_finished", {}),
    )
    sft = of(run, "sft")
    # 40 kept steps of 1.6 s and 24 s of lost ones: more than the 50 s that the events tell.
    assert sft.parts[0] == Part(88.0, "killed", 0, 40)
    assert sft.is_at_least
    assert sft.redone.steps == 15
    assert sft.trained == 60 * 900 + 13_500
    assert sft.forward == 60 * 4100 + 61_500
    total = total_cost(read_run(run))
    assert total.steps == 75
    text = build_report(run).read_text()
    assert "of which done twice" in text
    assert "at least 2 min 58 s" in text
    assert "and 15 done twice (24 s)" in text


def test_a_stage_that_runs_and_one_that_failed_have_their_time(make_run):
    run = make_run(stages=("base", "sft", "dpo"))
    begin = [
        (0, "run_started", {}),
        (5, "stage_started", {"stage": "sft"}),
        (50, "stage_finished", {"stage": "sft", "seconds": 45.0}),
        (50, "stage_started", {"stage": "dpo"}),
    ]
    events(run, *begin, (80, "checkpoint_removed", {"stage": "dpo"}))
    assert of(run, "dpo").parts == (Part(30.0, "running", 0, 60),)
    events(run, *begin, (90, "run_failed", {"message": "an actor was lost"}))
    assert of(run, "dpo").parts == (Part(40.0, "failed", 0, 60),)


def test_a_sum_of_tokens_names_the_stages_that_did_not_count_theirs(make_run):
    counts = {"prompts": 500, "pairs": 300}
    run = make_run(facts={"pairs": {"counts": counts, "cost": {"rollouts": 4000}}})
    path = run / "stages/grpo/metrics.jsonl"
    lines = [json.loads(line) | {"tokens/generated": 96.0} for line in path.open()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    total = total_cost(read_run(run))
    assert total.uncounted == ["pairs"]
    text = build_report(run).read_text()
    assert '<small class="way">without <bdi>pairs</bdi>: not counted there</small>' in text


def test_answers_sampled_and_pairs_kept_are_counted(make_run):
    counts = {"prompts": 500, "pairs": 300, "heldout": 50, "labelled": 600, "tied": 150}
    cost = {"rollouts": 4000, "tokens/generated": 9_100}
    run = make_run(facts={"pairs": {"counts": counts, "cost": cost}})
    pairs = of(run, "pairs")
    assert (pairs.sampled, pairs.prompts, pairs.pairs, pairs.heldout) == (4000, 500, 300, 50)
    assert pairs.generated == 9_100
    path = run / "stages" / "grpo" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    more = {"samples/s": 20.0, "tokens/generated": 96.0}
    path.write_text("".join(json.dumps(line | more) + "\n" for line in lines))
    grpo = of(run, "grpo")
    assert (grpo.sampled, grpo.generated) == (60 * 32, 60 * 96)
    assert of(run, "dpo").sampled is None
    total = total_cost(read_run(run))
    assert total.total("sampled") == 4000 + 60 * 32
    assert total.total("pairs") == 300
    assert total.questions == 5 * 2 * 48
    text = build_report(run).read_text().replace("\u202f", " ")
    assert "4,000 answers sampled for 500 prompts, 300 pairs kept and 50 held out" in text
    assert "in all, 10 evaluations" in text


def test_a_sample_stage_that_did_not_count_has_prompts_times_n(make_run):
    run = make_run(facts={"pairs": {"counts": {"prompts": 500, "pairs": 300}}})
    page = json.loads((run / "config.yaml").read_text())
    (pairs,) = (stage for stage in page["stages"] if stage["name"] == "pairs")
    pairs["sample"] = {"n": 8}
    (run / "config.yaml").write_text(json.dumps(page))
    assert of(run, "pairs").sampled == 4000


def test_the_times_under_training_add_up_to_the_stages_time(make_run):
    run = read_run(make_run())
    told = training(run.stage("grpo"), 1000.0)
    assert sum(seconds for _, _, seconds in told.times) == pytest.approx(1000.0)
    assert "rest" in [name for name, _, _ in told.times]
