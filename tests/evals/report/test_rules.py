"""The same answers under other rules."""

import json

from evals.report import build_report
from evals.report.facts.stored import judge_of
from evals.report.run import read_run
from evals.report.sections.rules import rules


def stored(make_run, text, **fields):
    """A run of two stages whose second says `text` to every question of mme."""
    names = [
        f"{part}-{n:04d}-{h}" for part in ("select", "report") for n in range(12) for h in (0, 1)
    ]
    answers = {("sft", "mme", name): text for name in names}
    return make_run(stages=("base", "sft"), benchmarks=("mme",), answers=answers, **fields)


def test_a_rule_that_reads_other_words_gives_another_score(make_run, tmp_path):
    run = read_run(stored(make_run, "Answer: Yes"))
    table = rules(run, "mme", tmp_path)
    assert table.profiles == ("official", "lmms_eval", "vlmevalkit")
    scores = {profile: table.cells[profile]["sft"].value for profile in table.profiles}
    assert scores == {"official": 0.0, "lmms_eval": 0.0, "vlmevalkit": 200.0}
    assert table.change("vlmevalkit", "sft", "base") == 200.0
    assert table.change("official", "base", None) is None


def test_a_sign_that_turns_is_named(make_run, tmp_path):
    run = stored(make_run, "Answer: Yes")
    path = run / "evals" / "base" / "mme" / "responses.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"response": "no, not yes"}) + "\n" for row in rows))
    table = rules(read_run(run), "mme", tmp_path)
    assert table.change("official", "sft", "base") == -200.0
    assert table.change("vlmevalkit", "sft", "base") == 200.0
    assert table.turned == (("vlmevalkit", "sft"),)
    text = build_report(run).read_text()
    assert "a change has the other sign: vlmevalkit, sft" in text


def test_a_table_is_kept_until_an_answer_changes(make_run, tmp_path, monkeypatch):
    run = stored(make_run, "yes")
    first = rules(read_run(run), "mme", tmp_path)
    monkeypatch.setattr("evals.report.sections.rules.rescore", lambda *_: 1 / 0)
    assert rules(read_run(run), "mme", tmp_path) == first
    monkeypatch.undo()
    path = run / "evals" / "sft" / "mme" / "responses.jsonl"
    path.write_text(path.read_text().replace('"yes"', '"rubbish"'))
    assert rules(read_run(run), "mme", tmp_path) != first


def test_rows_that_a_rule_refuses_are_told_not_hidden(make_run, tmp_path):
    run = stored(make_run, "yes")
    path = run / "evals" / "sft" / "mme" / "responses.jsonl"
    path.write_text(path.read_text().replace('"color"', '"colour"'))
    table = rules(read_run(run), "mme", tmp_path)
    assert "category 'colour'" in table.cells["official"]["sft"].problem
    assert "category &#39;colour&#39;" in build_report(run).read_text()


def test_a_report_runs_no_code_that_a_run_names(make_run, tmp_path):
    run = stored(make_run, "yes")
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    page = json.loads((run / "config.yaml").read_text())
    page["evals"]["benchmarks"] = [{"name": f"{evil}:bench"}]
    (run / "config.yaml").write_text(json.dumps(page))
    assert judge_of(read_run(run), "bench") is None
    build_report(run)
    assert not (tmp_path / "ran").exists()
