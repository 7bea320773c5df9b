"""The page: self-contained, escaped, and there for runs that are not finished."""

import json
import re
from html.parser import HTMLParser

import pytest

from evals.report import build_report
from evals.report.run import read_run
from rl.errors import NoRunError

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> # head **b** [l](javascript:0) "
    "`c` \u202eevil\u2066 \u2028\u2029 & \ud800 \x00\x1b[31m' \\ "
) + "long " * 3000


class Page(HTMLParser):
    """What the page loads, runs and holds."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.handlers, self.styles = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.links += [given[key] for key in ("src", "href", "action", "data") if key in given]
        self.handlers += [key for key in given if key.startswith("on")]
        self.styles += [given["style"]] if "style" in given else []


def config_of(run):
    return Page(build_report(run).read_text(encoding="utf-8"))


def script(path):
    """The JSON that a data file hands to the page."""
    found = re.fullmatch(r"plumbline\('([^']*)','([^']*)'\)\n", path.read_text(encoding="ascii"))
    assert found, path
    return json.loads(json.loads('"' + found[2].replace('"', '\\"') + '"'))


def test_the_page_holds_every_part(make_run):
    text = build_report(make_run()).read_text()
    for section in (
        *("stages", "scores", "changes", "categories", "examples", "rules", "reward"),
        *("training", "cost", "provenance", "terms"),
    ):
        assert f'<section id="{section}">' in text
        assert f'href="#{section}"' in text


def test_every_question_lies_in_the_data_beside_the_page(make_run):
    run = make_run()
    build_report(run)
    index = script(run / "report" / "data" / "mme" / "index.js")
    assert index["stages"] == [["base", -1], ["sft", 0], ["dpo", 1], ["kto", 1], ["grpo", 2]]
    assert len(index["category"]) == 24
    assert [len(flags) for flags in index["flags"]] == [24] * 5
    items = script(run / "report" / "data" / "mme" / "000.js")
    assert {item[0].split("-")[0] for item in items} == {"report"}
    assert all(len(item[5]) == 5 for item in items)
    textvqa = script(run / "report" / "data" / "textvqa" / "000.js")
    assert any(reference.endswith("×9") for reference in textvqa[0][2])


def test_nothing_is_loaded_from_elsewhere_and_only_our_script_may_run(make_run):
    page = config_of(make_run())
    assert not [
        link for link in page.links if not re.fullmatch(r"#[\w-]*|gate\.md|leaderboard\.\w+", link)
    ]
    assert page.handlers == page.styles == []
    text = build_report(make_run()).read_text()
    assert "http://" not in text
    assert "https://" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert len(re.findall(r"'sha256-[\w+/=]{44}'", policy)) == 3


def test_the_images_shown_lie_beside_the_page(make_run):
    run = make_run()
    build_report(run)
    folder = run / "report"
    shown = {sha for item in script(folder / "data" / "mme" / "000.js") for sha in item[3]}
    assert {path.stem for path in (folder / "images").glob("*.png")} == shown
    gone = sorted(shown)[0]
    (run / "evals" / "images" / f"{gone}.png").unlink()
    (folder / "images" / f"{gone}.png").unlink()
    for path in run.glob("evals/*/mme/responses.jsonl"):
        path.write_text(path.read_text() + "\n")
    build_report(run)
    again = {sha for item in script(folder / "data" / "mme" / "000.js") for sha in item[3]}
    assert again == shown - {gone} | {None}


def test_hostile_answers_stay_text(make_run):
    answers = {("grpo", "textvqa", "report-0001-0"): HOSTILE}
    tags = sorted(config_of(make_run()).tags)
    run = make_run(answers=answers)
    assert sorted(config_of(run).tags) == tags
    folder = run / "report" / "data" / "textvqa"
    number, item = next(
        (n, item) for n, item in enumerate(script(folder / "000.js")) if item[0] == "report-0001-0"
    )
    text, size = item[5][4][:2]
    assert text.startswith("</script><script>alert(1)")
    assert (len(text), size) == (2000, len(HOSTILE))
    assert script(folder / "000-long.js") == [[number, 4, HOSTILE]]
    assert not re.search("[<>&]", (folder / "000.js").read_text())
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


def test_marks_of_direction_and_controls_get_a_name_that_is_seen(make_run):
    run = make_run(facts={"kto": {"status": "failed", "error": "a\u202eb\u2066c\x00 \u05d0"}})
    assert "a⟨RLO⟩b⟨LRI⟩c⟨NUL⟩ \u05d0" in build_report(run).read_text()


def test_a_page_whose_answers_did_not_change_is_built_from_what_is_kept(make_run):
    run = make_run()
    first = build_report(run).read_bytes()
    data = run / "report" / "data"
    before = {path: path.stat().st_mtime_ns for path in data.glob("*/*")}
    assert build_report(run).read_bytes() == first
    assert before == {path: path.stat().st_mtime_ns for path in data.glob("*/*")}
    path = run / "evals" / "grpo" / "mme" / "responses.jsonl"
    path.write_text(path.read_text().replace('"report-0001-0"', '"report-0001-9"'))
    build_report(run)
    changed = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert {path.parent.name for path in changed} == {"mme"}


def test_the_stamp_beside_the_page_is_the_pages_own(make_run):
    run = make_run()
    text = build_report(run).read_text()
    stamp = re.search(r'data-stamp="(\w{16})"', text)[1]
    assert script(run / "report" / "data" / "stamp.js") == stamp
    (run / "stages" / "grpo" / "stage.json").unlink()
    assert f'data-stamp="{stamp}"' not in build_report(run).read_text()


def test_benchmarks_of_any_name_have_a_folder_of_their_own(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("mme",))
    for stage in ("base", "sft"):
        (run / "evals" / stage / "mme").rename(run / "evals" / stage / "My Bench: ü")
        path = run / "evals" / stage / "My Bench: ü" / "result.json"
        path.write_text(path.read_text().replace('"mme"', '"My Bench: ü"'))
    build_report(run)
    (folder,) = (run / "report" / "data").glob("*/")
    assert re.fullmatch("my-bench-[0-9a-f]{8}", folder.name)
    assert len(script(folder / "index.js")["category"]) == 24


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


def test_the_dashed_line_has_its_number_in_the_benchmarks_unit(make_run):
    text = build_report(make_run()).read_text().replace("\u202f", " ")
    assert "the dashed line: 500.0 of 1,000</small>" in text
    assert "majority baseline</abbr> 500.0 of 1,000, accuracy 50.0 %" in text
    assert "the dashed line: 21.0 %</small>" in text


def test_the_pause_before_a_resume_is_not_counted(make_run):
    run = make_run()
    times = [(0, "run_started"), (60, "run_failed"), (9000, "run_started"), (9030, "run_finished")]
    lines = [json.dumps({"time": 1.79e9 + t, "event": event}) for t, event in times]
    (run / "events.jsonl").write_text("\n".join(lines) + "\n")
    assert read_run(run).seconds == 90


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(NoRunError, match="no run to report on"):
        build_report(tmp_path)
