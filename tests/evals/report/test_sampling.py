"""Several answers a question, judges and alarms, as later results hold them."""

import json

from evals.report import build_report
from evals.report.answers.reading import read_answers
from evals.report.run import read_run
from evals.report.sections.rules import rules


def edit(path, change):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(row)) + "\n" for row in rows))


def test_all_answers_to_a_question_are_shown_and_their_mean_is_scored_again(make_run, tmp_path):
    run = make_run(stages=("base", "sft"), benchmarks=("mme",))
    several = {"samples": [{"response": text} for text in ("yes", "no", "no", "no")]}
    edit(run / "evals" / "sft" / "mme" / "responses.jsonl", lambda row: row | several)
    found = read_answers(read_run(run), "mme")
    assert found[0].answers[1].text.startswith("(1 of 4) yes\n\n(2 of 4) no")
    told = rules(read_run(run), "mme", tmp_path).cells["official"]["sft"]
    # Four rounds: always yes is right in one question of two and in no pair, always no likewise.
    assert told.value == 100 * 4 * 0.5


def test_sampling_judge_and_alarms_stand_on_the_page(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("mme",))
    path = run / "evals" / "sft" / "mme" / "result.json"
    value = json.loads(path.read_text())
    value["parts"]["report"]["sampling"] = {
        "n": 4,
        "mean": 500.0,
        "stdev": 12.0,
        "majority": 612.0,
        "pass_at": {"1": 0.5, "4": 0.75},
    }
    value["judge"] = "a-judge 1"
    value["gate"]["alarms"] = ["parent base: jumped"]
    path.write_text(json.dumps(value))
    text = build_report(run).read_text()
    assert "majority of 4: 612" in text
    assert "right among 4: 75.0" in text
    assert '<p class="alarm">Look at this: <bdi>parent base: jumped' in text
    assert "look at this, below" in text
    assert "<bdi>judge</bdi>" in text
