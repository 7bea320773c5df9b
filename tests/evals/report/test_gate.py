"""report/gate.md: verdicts, reasons and what became of failed stages, never markup of a model's."""

import json

import pytest

from evals.report.gate import gate_markdown, worst_verdict, write_gate
from evals.report.run import read_run
from rl.errors import NoRunError


def edit(path, **gate):
    value = json.loads(path.read_text())
    value["gate"].update(gate)
    path.write_text(json.dumps(value))


def test_every_stage_that_was_compared_has_a_row(make_run):
    run = make_run()
    text = gate_markdown(run)
    assert text.startswith("## Gate of quickstart: pass\n")
    assert "| sft | mme | parent base, base base | pass |  |" in text
    assert "\n| base |" not in text
    assert "- **sft**, mme: parent: a drop of more than 20 is ruled out" in text
    assert write_gate(run).read_text() == text == (run / "report" / "gate.md").read_text()


def test_the_worst_verdict_leads_and_says_what_would_decide(make_run):
    run = make_run()
    edit(run / "evals/dpo/mme/result.json", verdict="warn", n_to_decide=1855)
    assert "| dpo | mme | parent sft, base base | warn | 1,855 |" in gate_markdown(run)
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
