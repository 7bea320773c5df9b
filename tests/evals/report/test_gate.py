"""report/gate.md: verdicts, reasons and what became of failed stages, never markup of a model's."""

import json

import pytest

from evals.report import build_report
from evals.report.facts.gate import beside, unjudged, worst_verdict
from evals.report.facts.rows import rows
from evals.report.formats.gate import gate_markdown
from evals.report.run import read_run
from evals.report.sections.top import checks
from recipes.cli.main import main
from rl.errors import NoRunError


def edit(path, **gate):
    value = json.loads(path.read_text())
    value["gate"].update(gate)
    path.write_text(json.dumps(value))


def test_every_stage_that_was_compared_has_a_row(make_run):
    run = make_run()
    text = gate_markdown(run)
    assert text.startswith("## Gate of quickstart: pass\n")
    assert "| sft | mme | base | pass |  |" in text
    assert "\n| base |" not in text
    assert "- **sft**, mme: parent: a drop of more than 20 is ruled out" in text
    build_report(run)
    assert (run / "report" / "gate.md").read_text() == text


def test_the_worst_verdict_leads_and_says_what_would_decide(make_run):
    run = make_run()
    edit(run / "evals/dpo/mme/result.json", verdict="warn", n_to_decide=1855)
    assert "| dpo | mme | sft (parent), base | warn | 1,855 |" in gate_markdown(run)
    assert worst_verdict(read_run(run)) == "warn"
    edit(run / "evals/grpo/mme/result.json", verdict="fail", alarms=["a rise of <b>90</b>"])
    text = gate_markdown(run)
    assert text.startswith("## Gate of quickstart: fail\n")
    assert "\\<b>90\\</b>" in text


def test_stages_that_ended_early_or_went_back(make_run):
    run = make_run()
    with (run / "stages/dpo/metrics.jsonl").open("a") as file:
        for step, gate in ((70, 0.0), (80, 2.0)):
            file.write(json.dumps({"step": step, "eval/select": 0.5, "eval/gate": gate}) + "\n")
    facts = json.loads((run / "stages/dpo/stage.json").read_text())
    facts |= {"ended": {"why": "the gate failed at step 80"}, "rolled_back_to": "sft"}
    (run / "stages/dpo/stage.json").write_text(json.dumps(facts))
    text = gate_markdown(run)
    assert "- **dpo**, inside the stage: step 70 pass, step 80 fail" in text
    assert "- **dpo** ended early: the gate failed at step 80" in text
    assert "- **dpo** was rolled back: later stages start from sft" in text
    assert worst_verdict(read_run(run)) == "fail"


def test_a_run_without_comparisons_and_none_at_all(make_run, tmp_path):
    text = gate_markdown(make_run(stages=("base",)))
    assert "No stage has been compared with another yet." in text
    with pytest.raises(NoRunError, match="no run to report on"):
        gate_markdown(tmp_path / "nowhere")


def test_what_cannot_be_judged_is_named_and_never_a_pass(make_run):
    run = make_run()
    assert unjudged(read_run(run)) == []
    path = run / "evals/grpo/mme/result.json"
    whole = path.read_text()
    path.write_text(whole[:300])
    (gap,) = unjudged(read_run(run))
    assert gap.startswith("evals/grpo/mme/result.json")
    text = gate_markdown(run)
    assert text.startswith("## Gate of quickstart: incomplete\n")
    assert "- **not judged**: evals/grpo/mme/result.json" in text
    assert check(run).mood == "open"
    assert "not judged: evals/grpo/mme/result.json" in check(run).answer
    path.unlink()
    assert unjudged(read_run(run)) == ["grpo on mme: 48 questions answered, no result.json"]
    path.write_text(whole)
    edit(path, verdict="FAIL")
    assert unjudged(read_run(run)) == ["grpo on mme: the verdict 'FAIL' is none"]
    edit(run / "evals/dpo/mme/result.json", verdict="fail")
    assert gate_markdown(run).startswith("## Gate of quickstart: fail\n")


def test_a_run_that_goes_on_may_have_answers_that_are_not_scored_yet(make_run):
    run = make_run()
    (run / "evals/grpo/mme/result.json").unlink()
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps({"time": 1.8e9, "event": "run_started"}) + "\n")
    assert unjudged(read_run(run)) == []


def test_the_command_ends_with_2_where_something_was_not_judged(make_run, monkeypatch, capsys):
    run = make_run()
    path = run / "evals/grpo/mme/result.json"
    path.write_text("{")
    monkeypatch.setattr("sys.argv", ["plumbline", "gate", str(run)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert (
        "the gate could not read everything: evals/grpo/mme/result.json" in capsys.readouterr().err
    )


def check(run):
    found = read_run(run)
    return next((c for c in checks(found, rows(found), []) if "gate" in c.question), None)


def test_the_top_of_the_page_says_whether_the_gate_held(make_run):
    run = make_run()
    assert (check(run).mood, check(run).link) == ("good", "gate.md")
    edit(run / "evals/kto/mme/result.json", verdict="warn")
    assert check(run).mood == "open"
    assert check(run).answer == (
        "Not everywhere, warning: a loss beyond the allowed 2 % of the maximum is neither ruled "
        "out nor shown for kto on mme"
    )
    edit(run / "evals/dpo/mme/result.json", verdict="fail")
    assert check(run).mood == "bad"
    assert "is shown for dpo on mme; warning: " in check(run).answer
    text = build_report(run).read_text()
    assert '<a href="gate.md">gate.md</a>' in text
    assert "the gate, on the select part, could not rule out a loss" in text


def test_where_nothing_was_compared_the_gate_has_no_line(make_run):
    assert check(make_run(stages=("base",))) is None


def test_an_alarm_is_told_where_it_arose(make_run):
    run = make_run()
    told = "against its parent base: the share of answers that could be read rose"
    edit(run / "evals/sft/mme/result.json", alarms=[told])
    text = build_report(run).read_text()
    assert text.count("look at this, below") == 1
    assert text.count(told) == text.count("Look at this: ") == 1
    assert f"- **sft**, mme: {told}" in (run / "report" / "gate.md").read_text()


def test_bounds_on_the_select_part_stand_beside_the_verdict_of_the_report_part(make_run):
    run = make_run()
    path = run / "evals/kto/mme/result.json"
    value = json.loads(path.read_text())
    value["comparisons"]["parent"]["select"] |= {"lower_bound": -23.2, "upper_bound": -2.0}
    value["comparisons"]["parent"]["report"] |= {"difference": -1.0, "interval": [-5.6, 3.4]}
    path.write_text(json.dumps(value))
    found = read_run(run)
    told = {row.stage: row for row in rows(found) if row.benchmark == "mme"}
    words = beside(found.stage("kto").results["mme"], told["kto"])
    assert words.startswith(
        "The report part, on other questions: \u22121.0 of 1,000 [\u22125.6, 3.4], no "
        "evidence of a difference. Both bounds on the select part lie below zero, and that is no "
        "contradiction"
    )
    assert "contradiction" not in beside(found.stage("dpo").results["mme"], told["dpo"])
    assert beside(found.stage("base").results["mme"], told["base"]) == ""
