"""The page: self-contained, escaped, and there for runs that are not finished."""

import json
import re
from html.parser import HTMLParser

import pytest

from evals.report import build_report
from evals.report.examples import script_json
from evals.report.run import read_run
from rl.errors import EvalError

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> # head **b** [l](javascript:0) "
    "`c` \u202eevil\u2066 \u2028\u2029 & \ud800 "
) + "long " * 3000


class Page(HTMLParser):
    """What the page loads, runs and holds."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.blocks, self.handlers, self._in = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.links += [given[key] for key in ("src", "href", "action", "data") if key in given]
        self.handlers += [key for key in given if key.startswith("on")]
        if tag == "script":
            self.blocks.append((given.get("type"), ""))
            self._in = "script"

    def handle_endtag(self, tag):
        self._in = None if tag == self._in else self._in

    def handle_data(self, data):
        if self._in == "script":
            kind, text = self.blocks[-1]
            self.blocks[-1] = (kind, text + data)

    @property
    def answers(self):
        return [json.loads(text) for kind, text in self.blocks if kind == "application/json"]


def page_of(run):
    return Page(build_report(run).read_text(encoding="utf-8"))


def test_the_page_holds_every_part_and_every_answer(make_run):
    run = make_run()
    text = build_report(run).read_text()
    for section in ("stages", "scores", "changes", "categories", "training", "examples", "cost"):
        assert f'<section id="{section}">' in text
    page = Page(text)
    mme, textvqa = page.answers
    assert [stage["name"] for stage in mme["stages"]] == ["base", "sft", "dpo", "kto", "grpo"]
    assert mme["stages"][4]["parent"] == 2
    assert mme["total"] == len(mme["items"]) == 24
    assert all(len(item["answers"]) == 5 for item in mme["items"])
    assert {item["id"].split("-")[0] for item in mme["items"]} == {"report"}
    assert any(ref.endswith("×9") for ref in textvqa["items"][0]["references"])


def test_nothing_is_loaded_from_elsewhere_and_only_our_script_may_run(make_run):
    run = make_run()
    page = page_of(run)
    assert not [link for link in page.links if not re.fullmatch(r"#\w*|leaderboard\.\w+", link)]
    assert page.handlers == []
    text = (run / "report" / "index.html").read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert re.search(r"script-src 'sha256-[\w+/=]{44}'", text)
    assert [kind for kind, _ in page.blocks] == ["application/json"] * 2 + [None]


def test_the_images_shown_lie_beside_the_page(make_run):
    run = make_run()
    page = page_of(run)
    shown = {sha for data in page.answers for item in data["items"] for sha in item["images"]}
    assert {path.stem for path in (run / "report" / "images").glob("*.png")} == shown
    gone = sorted(shown)[0]
    (run / "evals" / "images" / f"{gone}.png").unlink()
    (run / "report" / "images" / f"{gone}.png").unlink()
    again = {
        sha for data in page_of(run).answers for item in data["items"] for sha in item["images"]
    }
    assert again == shown - {gone} | {None}


def test_hostile_answers_stay_text(make_run):
    answers = {("grpo", "textvqa", "report-0001-0"): HOSTILE}
    run = make_run(answers=answers)
    tags = sorted(page_of(make_run()).tags)
    page = page_of(make_run(answers=answers))
    assert sorted(page.tags) == tags
    told = {item["id"]: item for item in page.answers[1]["items"]}
    said = told["report-0001-0"]["answers"][4]["text"]
    assert said.startswith("</script><script>alert(1)")
    assert said.endswith("more characters in responses.jsonl)")
    assert len(said) < 5000
    assert "alert(1)</script>" not in (run / "report" / "index.html").read_text()


def test_hostile_names_are_escaped_where_the_page_itself_writes_them(make_run):
    bad = "<script>alert(3)</script>"
    run = make_run(facts={"kto": {"status": "failed", "error": bad}})
    path = run / "evals" / "sft" / "mme" / "result.json"
    path.write_text(path.read_text().replace('"existence"', json.dumps(bad)))
    (run / "config.yaml").write_text(f"run: {{name: '{bad}'}}\n")
    text = build_report(run).read_text()
    assert bad not in text
    assert text.count("&lt;script&gt;alert(3)") >= 4


def test_marks_of_direction_cannot_reach_past_a_name(make_run):
    run = make_run(facts={"kto": {"status": "failed", "error": "a\u202eb\u2066c \u05d0"}})
    assert "a\ufffdb\ufffdc \u05d0" in build_report(run).read_text()


def test_script_json_cannot_end_its_element():
    text = script_json({"a": "</script><!--&\u2028\u2029\ud800"})
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text)["a"] == "</script><!--&\u2028\u2029\ud800"


@pytest.mark.parametrize(
    "what",
    [
        {"stages": ()},
        {"stages": ("base",)},
        {"stages": ("sft", "dpo")},
        {"benchmarks": ("textvqa",)},
        {"benchmarks": ()},
        {"steps": 1},
        {"stages": ("base", "sft"), "facts": {"sft": {"status": "running"}}},
    ],
)
def test_partial_runs_have_a_report(make_run, what):
    run = make_run(**what)
    (run / "evals").mkdir(exist_ok=True)
    text = build_report(run).read_text()
    assert "</html>" in text
    assert 'class="problems"' not in text


def test_unfinished_and_failed_stages_say_so(make_run):
    facts = {
        "grpo": {"status": "running"},
        "kto": {"status": "failed", "error": "RolloutError: rollout-0 timed out"},
    }
    run = make_run(facts=facts)
    for name in ("result.json", "scores.jsonl"):
        (run / "evals" / "grpo" / "mme" / name).unlink()
    torn = run / "evals" / "grpo" / "mme" / "responses.jsonl"
    torn.write_text(torn.read_text()[:-40])
    text = build_report(run).read_text()
    assert "failed after 60 steps: RolloutError: rollout-0 timed out" in text
    assert "still running, 60 steps done" in text
    assert "47 answered, not scored yet" in text


def test_files_that_cannot_be_read_are_named(make_run):
    run = make_run()
    (run / "evals" / "sft" / "mme" / "result.json").write_text('{"schema": 1}')
    (run / "stages" / "dpo" / "stage.json").write_text("{")
    (run / "stages" / "kto" / "metrics.jsonl").write_text("rubbish\n")
    text = build_report(run).read_text()
    for name in (
        "evals/sft/mme/result.json",
        "stages/dpo/stage.json",
        "stages/kto/metrics.jsonl",
    ):
        assert f"<li><bdi>{name}" in text


def test_an_evaluation_without_training_is_a_run_too(make_run):
    run = make_run(stages=("base",))
    for path in (run / "config.yaml", run / "env.json", run / "events.jsonl"):
        path.unlink()
    (run / "stages" / "base" / "stage.json").unlink()
    text = build_report(run).read_text()
    assert "scores" in text
    assert "always giving the most common answer" in text


def test_the_pause_before_a_resume_is_not_counted(make_run):
    run = make_run()
    times = [(0, "run_started"), (60, "run_failed"), (9000, "run_started"), (9030, "run_finished")]
    lines = [json.dumps({"time": 1.79e9 + t, "event": event}) for t, event in times]
    (run / "events.jsonl").write_text("\n".join(lines) + "\n")
    assert read_run(run).seconds == 90


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(EvalError, match="no run to report on"):
        build_report(tmp_path)
