"""The top of the page: what it is about, what came of the run, and what surprises there."""

import json
import struct
from dataclasses import replace

import pytest

from evals.report import build_report
from evals.report.answers import groups
from evals.report.answers.moves import as_dict, split
from evals.report.facts.about import about, parameters
from evals.report.facts.conclusion import Conclusion, conclusion
from evals.report.facts.rows import rows
from evals.report.facts.spent import reached, total_cost
from evals.report.run import read_run
from tests.evals.report.made import answer, asked

FACTS = {
    "sft": {"data": ["data/sft.jsonl"], "rows": 16000},
    "pairs": {"data": ["data/rl.jsonl"], "counts": {"prompts": 2500}},
    "dpo": {"data": ["pairs"], "rows": 1528},
}


def concluded(run):
    found = read_run(run)
    return conclusion(found, rows(found), {})


def weights(folder, shapes):
    folder.mkdir(parents=True)
    header = {"__metadata__": {"format": "pt"}} | {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in shapes.items()
    }
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    (folder / "config.json").write_text(json.dumps({"architectures": ["TinyVL"]}))


def test_the_model_the_data_and_the_questions_are_named(make_run):
    run = make_run(facts=FACTS)
    page = json.loads((run / "config.yaml").read_text())
    page["evals"]["benchmarks"][0]["path"] = "data/mme"
    page["evals"]["benchmarks"][1] |= {"path": "lmms-lab/textvqa", "limit": 48}
    (run / "config.yaml").write_text(json.dumps(page))
    weights(run / "stages/sft/checkpoints/step-000060", {"a": [300, 20], "b": [7], "c": []})
    model, questions = about(read_run(run))
    assert model == (
        "The model is models/quickstart-base (TinyVL, 6,008 parameters); "
        "sft learns from data/sft.jsonl (16,000 rows), pairs answers data/rl.jsonl "
        "(2,500 prompts), dpo learns from pairs (1,528 rows)."
    )
    assert questions == (
        "Measured on mme from data/mme, 48 questions (24 in the report part and 24 in the select "
        "part): not the public set, which has 2,374; textvqa from lmms-lab/textvqa, 48 "
        "questions (24 in the report part and 24 in the select part), limited to 48."
    )
    text = build_report(run).read_text()
    assert "not the public set" in text
    assert "TinyVL" in text


def test_what_is_not_known_is_left_out(make_run, tmp_path):
    run = make_run(stages=("base",), benchmarks=())
    (run / "config.yaml").unlink()
    assert about(read_run(run)) == []
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(struct.pack("<Q", 1 << 40))
    with pytest.raises(ValueError, match="header"):
        parameters([bad])


def test_a_line_a_benchmark_says_what_came_of_the_run(make_run):
    assert concluded(make_run(benchmarks=("textvqa",))) == Conclusion(
        "grpo (base → sft → dpo → grpo):",
        (
            "textvqa: better than base, 0.0\u202f% → 95.8\u202f%; gained in sft, dpo and grpo",
            "kto, from which no later stage starts: textvqa 66.7\u202f%, "
            "not shown to differ from sft",
        ),
    )


def test_a_gain_is_called_form_where_the_answers_tell(make_run):
    build_report(run := make_run(stages=("base", "sft"), benchmarks=("textvqa",)))
    told = (run / "report" / "leaderboard.md").read_text()
    assert "; gained in sft (by answering: 66.7 % of the 24 new answers are right" in told.replace(
        "\u202f", " "
    )
    text = (run / "report" / "index.html").read_text().replace("\u202f", " ")
    lead, _, line = (line.removeprefix("- ") for line in told.splitlines()[2:5])
    assert lead in text
    assert line in text


def test_a_gain_by_form_says_whether_the_stage_sees_better(make_run):
    run = read_run(make_run(stages=("base", "sft", "dpo"), benchmarks=("textvqa",)))
    wordy = answer(0.0, text="it is 3", parsed="it is 3", content=1.0)
    bare, other = answer(1.0, text="3", parsed="3"), answer(0.0, text="4", parsed="4")
    parts = split([asked(wordy, bare)] * 20 + [asked(wordy, other)], 1, 0)
    summaries = {"textvqa": {"splits": {"dpo\nsft": as_dict(parts)}}}
    assert (
        conclusion(run, rows(run), summaries)
        .lines[0]
        .endswith("; gained in sft and dpo (by form, no evidence that it sees better)")
    )


def test_a_gain_by_answering_is_held_against_the_most_common_answer(make_run):
    run = read_run(make_run(stages=("base", "sft"), benchmarks=("textvqa",)))
    cut, right, wrong = answer(0.0, cut=True), answer(1.0), answer(0.0, text="no", parsed="no")

    def line(rights):
        parts = split([asked(cut, right)] * rights + [asked(cut, wrong)] * (100 - rights), 1, 0)
        told = {"textvqa": {"splits": {"sft\nbase": as_dict(parts)}}}
        return conclusion(run, told_rows, told).lines[0]

    told_rows = [replace(row, majority_baseline=0.5) for row in rows(run)]
    assert line(52).endswith("; gained in sft (by answering at all)")
    assert line(70).endswith(
        "; gained in sft (by answering: 70.0\u202f% of the 100 new answers are right, "
        "always giving the most common answer: 50.0\u202f%)"
    )


def test_a_loss_in_content_is_named_beside_the_gain(make_run):
    run = read_run(make_run(stages=("base", "sft"), benchmarks=("textvqa",)))
    wordy = answer(0.0, text="it is 3", parsed="it is 3", content=1.0)
    bare, other = answer(1.0, text="3", parsed="3"), answer(0.0, text="4", parsed="4")
    many = [asked(wordy, bare, category="kept")] * 60
    many += [asked(bare, other, category="lost")] * 20
    told = {
        "splits": {"sft\nbase": as_dict(split(many, 1, 0))},
        "tallies": {"sft\nbase": groups.as_dicts(groups.tallies(many, 1, 0))},
    }
    assert (
        conclusion(run, rows(run), {"textvqa": told})
        .lines[0]
        .endswith("gained in sft (by form, no evidence that it sees better, worse on lost)")
    )


def test_with_many_benchmarks_the_conclusion_counts_them(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("textvqa",))
    for number in range(5):
        for stage in ("base", "sft"):
            path = run / "evals" / stage / "textvqa" / "result.json"
            value = json.loads(path.read_text()) | {"benchmark": f"bench{number}"}
            for against in value["comparisons"].values():
                against["report"] |= {"verdict": "worse" if number == 3 else "no evidence"}
                against["report"] |= {"p_value": 0.001 if number == 3 else 0.5}
            other = run / "evals" / stage / f"bench{number}" / "result.json"
            other.parent.mkdir()
            other.write_text(json.dumps(value))
    assert concluded(run) == Conclusion(
        "sft (base → sft) is better than base on 1 of 6 benchmarks, worse on 1 (bench3), without "
        "evidence of a difference on 4."
    )


def test_a_stage_that_was_rolled_back_is_not_what_the_run_came_to(make_run):
    facts = {"grpo": {"rolled_back_to": "dpo"}}
    assert concluded(make_run(facts=facts)).lead == "kto (base → sft → kto):"


def test_a_run_in_which_nothing_was_compared_has_no_conclusion(make_run):
    assert concluded(make_run(stages=("base",))) == Conclusion()


def test_what_is_shown_by_force_is_no_gain(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("textvqa",))
    path = run / "evals/sft/textvqa/result.json"
    value = json.loads(path.read_text())
    for against in value["comparisons"].values():
        against["refused"] = "max_pixels differs: 1 and 2"
    path.write_text(json.dumps(value))
    (line,) = concluded(run).lines
    assert line.startswith("textvqa: not comparable with base, ")
    assert "gain" not in line


def test_reaching_a_stage_costs_what_it_stands_on_and_learned_from(make_run):
    run = make_run(facts=FACTS | {"pairs": FACTS["pairs"] | {"seconds": 10.0}})
    found = read_run(run)
    total = total_cost(found)
    way = reached(found, total, "dpo")
    assert way.stages == ("base", "sft", "pairs", "dpo")
    own = {item.stage.name: item.seconds or 0.0 for item in total.stages}
    assert way.seconds == pytest.approx(sum(own[name] for name in way.stages))
    assert reached(found, total, "grpo").stages == ("base", "sft", "pairs", "dpo", "grpo")
    assert reached(found, total, "base").stages == ("base",)


def test_held_out_pairs_are_named_as_such(make_run):
    run = make_run(facts={"dpo": {"heldout": {"pairs": 500, "implicit_reward_accuracy": 0.882}}})
    text = build_report(run).read_text()
    assert "Held-out pairs" in text
    assert "preference accuracy 88.2\u202f%: of 500 pairs that no step trained on" in text
