"""The leaderboard as data, CSV, JSON and Markdown."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from evals.report import build_report
from evals.report.display.plain import plain
from evals.report.facts.rows import rows
from evals.report.run import read_run
from tests.evals.report.test_build import script


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def board(run):
    return build_report(run).parent


def test_every_stage_and_benchmark_has_one_row_in_the_pages_order(make_run):
    found = rows(read_run(make_run()))
    names = [(row.benchmark, row.stage) for row in found]
    stages = ["base", "sft", "dpo", "kto", "grpo"]
    assert names == [(b, s) for b in ("mme", "textvqa") for s in stages]
    assert {row.part for row in found} == {"report"}


def test_json_csv_and_markdown_say_the_same(make_run):
    folder = board(make_run())
    told = json.loads((folder / "leaderboard.json").read_text())
    lines = list(csv.DictReader(io.StringIO((folder / "leaderboard.csv").read_text())))
    assert told["schema"] == 1
    assert {line["schema"] for line in lines} == {"1"}
    assert told["run"] == "quickstart"
    assert [s["name"] for s in told["stages"]] == ["base", "sft", "pairs", "dpo", "kto", "grpo"]
    for row, line in zip(told["rows"], lines, strict=True):
        assert (row["stage"], row["benchmark"]) == (line["stage"], line["benchmark"])
        assert row["value"] == float(line["value"])
        assert row["interval"] == [float(line["low"]), float(line["high"])]
        if row["parent"]:
            assert row["parent"]["p_holm"] == float(line["parent_p_holm"])
            assert row["parent"]["stage"] == line["parent"]
        else:
            assert line["parent"] == line["parent_difference"] == ""
    text = (folder / "leaderboard.md").read_text()
    said = "better than its parent dpo on mme by +120.0 of 1,000 [89.0, 151.0], p<0.001"
    assert f"- **grpo**: {said}" in text
    assert "| dpo | " in text
    assert "| clean |" in text
    assert text.endswith("|\n\nSchema 1.\n")


def test_what_guessing_scores_stands_beside_the_score_everywhere(make_run):
    folder = board(make_run())
    told = json.loads((folder / "leaderboard.json").read_text())
    assert {(r["benchmark"], r["random_baseline"]) for r in told["rows"]} == {
        ("mme", 375.0),
        ("textvqa", None),
    }
    lines = list(csv.DictReader(io.StringIO((folder / "leaderboard.csv").read_text())))
    assert {line["random_baseline"] for line in lines} == {"375.0", ""}
    assert (folder / "leaderboard.md").read_text().count("guessing scores 375.0. ") == 1
    page = (folder / "index.html").read_text()
    assert len(re.findall(r"random baseline</abbr> 375.0<", page)) == 1


def test_a_part_without_a_score_has_no_figure_and_no_zero(make_run):
    run = make_run(stages=("base",))
    nothing = ("value", "accuracy", "stderr", "stderr_clustered", "interval", "accuracy_interval")

    def change(value):
        for part in value["parts"].values():
            part |= dict.fromkeys((*nothing, "parse_rate", "mean_tokens"))
            part["errors"] = part["n"]
            part["categories"] = {"count": {"n": 0, "accuracy": None, "interval": None}}

    for benchmark in ("mme", "textvqa"):
        edit(run / "evals/base" / benchmark / "result.json", change)
    folder = board(run)
    rows = json.loads((folder / "leaderboard.json").read_text())["rows"]
    assert [(row["value"], row["interval"]) for row in rows] == [(None, None)] * 2
    assert "| base | – (" in (folder / "leaderboard.md").read_text()
    assert (folder / "index.html").exists()


def test_the_same_run_gives_the_same_bytes(make_run):
    run = make_run()
    folder = board(run)
    before = {path.name: path.read_bytes() for path in folder.glob("leaderboard.*")}
    build_report(run)
    assert before == {path.name: path.read_bytes() for path in folder.glob("leaderboard.*")}


def test_holm_takes_back_a_claim_that_only_the_raw_p_value_supports(make_run):
    run = make_run(stages=("base", "sft"))
    for benchmark, p in (("mme", 0.03), ("textvqa", 0.6)):

        def change(value, p=p):
            for part in ("select", "report"):
                value["comparisons"]["parent"][part] |= {"p_value": p, "verdict": "better"}

        edit(run / "evals" / "sft" / benchmark / "result.json", change)
    row = next(row for row in rows(read_run(run)) if (row.stage, row.benchmark) == ("sft", "mme"))
    assert row.parent.p_value == 0.03
    assert row.parent.p_holm == 0.06
    assert row.parent.verdict == "no evidence"


def test_training_images_in_the_benchmark_stand_beside_the_row(make_run):
    folder = board(make_run(contamination={"checked": True, "overlap_images": 3}))
    assert "**3 overlapping images**" in (folder / "leaderboard.md").read_text()
    assert "3 overlapping images" in (folder / "index.html").read_text()
    folder = board(make_run(contamination={"checked": False, "overlap_images": 0}))
    assert "**unchecked**" in (folder / "leaderboard.md").read_text()
    assert "not checked" in (folder / "index.html").read_text()


def test_unequal_settings_are_named_beside_the_difference(make_run):
    folder = board(make_run(settings={"grpo": {"max_pixels": 4096}}))
    told = json.loads((folder / "leaderboard.json").read_text())
    unequal = {row["stage"]: row["parent"]["unequal"] for row in told["rows"] if row["parent"]}
    assert unequal == {"sft": [], "dpo": [], "kto": [], "grpo": ["max_pixels"]}
    assert "**unequal: max\\_pixels**" in (folder / "leaderboard.md").read_text()
    assert 'class="unequal"' in (folder / "index.html").read_text()


@pytest.mark.parametrize(("temperature", "unequal"), [(0.0, []), (0.7, ["seed"])])
def test_the_seed_matters_only_where_answers_were_drawn(make_run, temperature, unequal):
    settings = {
        stage: {"seed": number, "temperature": temperature}
        for number, stage in enumerate(("base", "sft"))
    }
    folder = board(make_run(stages=("base", "sft"), settings=settings))
    told = json.loads((folder / "leaderboard.json").read_text())
    assert told["rows"][1]["parent"]["unequal"] == unequal
    assert ('class="unequal"' in (folder / "index.html").read_text()) is bool(unequal)


def test_a_refused_comparison_says_why(make_run):
    run = make_run()
    refused = {"stage": "dpo", "select": None, "report": None, "refused": "max_pixels differs"}
    path = run / "evals" / "grpo" / "mme" / "result.json"
    edit(path, lambda value: value["comparisons"].update(parent=refused))
    folder = board(run)
    assert "not compared** (max\\_pixels differs)" in (folder / "leaderboard.md").read_text()
    assert "not compared with its parent dpo on mme" in (folder / "index.html").read_text()


def test_a_result_without_a_report_part_is_marked_selected_on(make_run):
    run = make_run(stages=("base", "sft"))
    for path in run.glob("evals/*/*/result.json"):
        edit(path, lambda value: value["parts"].pop("report"))
    folder = board(run)
    assert "(selected on)" in (folder / "leaderboard.md").read_text()
    assert "selected on: no report part" in (folder / "index.html").read_text()


def test_names_never_act_as_markdown_or_as_a_formula(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("mme",))
    (run / "stages" / "sft").rename(run / "stages" / "=[x](y)|<b>")
    (run / "evals" / "sft").rename(run / "evals" / "=[x](y)|<b>")
    folder = board(run)
    text = (folder / "leaderboard.md").read_text()
    assert "=[x\\](y)\\|\\<b>" in text
    assert "\n'=[x](y)|<b>," in (folder / "leaderboard.csv").read_text()
    assert plain("a\u202eb\nc http://x") == "ab c http\\://x"


def test_every_key_of_the_json_is_explained(make_run):
    told = json.loads((board(make_run()) / "leaderboard.json").read_text())
    page = (Path(__file__).parents[3] / "docs" / "report.md").read_text()
    told["rows"] = [row for row in told["rows"] if row["parent"]]
    keys = {*told, *told["stages"][0], *told["rows"][0], *told["rows"][0]["parent"]}
    assert [key for key in sorted(keys) if f"`{key}`" not in page and f".{key}`" not in page] == []
    assert f"`schema` is {told['schema']}" in page


def test_known_questions_and_the_score_without_them_stand_beside_the_row(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("mme",))
    flag = {"kinds": ["image", "text"], "text_share": 0.9, "train": "sft:row-1"}
    without = {"report": {"n": 22, "value": 431.0, "interval": [400.0, 460.0], "left_out": 2}}
    for path in run.glob("evals/*/mme/result.json"):
        edit(
            path,
            lambda value: value.update(
                contamination={
                    "checked": True,
                    "overlap_images": 1,
                    "flagged": {"report-0001-0": flag, "report-0001-1": flag},
                    "without": without,
                }
            ),
        )
    folder = board(run)
    text = (folder / "index.html").read_text()
    assert "1 overlapping image, 2 known questions" in text
    assert "without them 431.0 [400.0, 460.0] (2 left out)" in text
    assert '<li class="bad"><span class="sign" aria-hidden="true">✕</span>' in text
    assert "**1 overlapping image, 2 known questions**" in (folder / "leaderboard.md").read_text()
    index = script(folder / "data" / "mme" / "index.js")
    items = script(folder / "data" / "mme" / "000.js")
    assert sorted(items[number][0] for number in index["known"]) == [
        "report-0001-0",
        "report-0001-1",
    ]
    assert items[index["known"][0]][6] == ["image", "text"]


def test_a_forced_comparison_is_shown_with_its_red_mark(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("mme",))
    path = run / "evals" / "sft" / "mme" / "result.json"
    edit(
        path,
        lambda value: [
            against.update(refused="max_pixels differs: 1 and 2")
            for against in value["comparisons"].values()
        ],
    )
    folder = board(run)
    text = (folder / "index.html").read_text()
    assert "not comparable: <bdi>max_pixels differs: 1 and 2</bdi>" in text
    assert "shown by force: max_pixels differs" in text
    assert "✕ not comparable" in text
    markdown = (folder / "leaderboard.md").read_text()
    assert "base +600.0 " in markdown
    assert "(**not comparable: max\\_pixels differs: 1 and 2**)" in markdown


def test_an_engine_that_was_not_compared_is_said_in_every_table(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("mme",))
    for path in run.glob("evals/sft/mme/result.json"):
        edit(path, lambda value: value.update(parity={"against": None}))
    for path in run.glob("evals/base/mme/result.json"):
        found = {"against": "plain forward", "max": 1e-6, "mean": 1e-7, "tokens": 128}
        edit(path, lambda value, found=found: value.update(parity=found))
    folder = board(run)
    lines = (folder / "leaderboard.md").read_text().splitlines()
    marked = [line for line in lines if "**engine not compared with the model**" in line]
    assert len(marked) == 1
    assert marked[0].startswith("| sft ")
    rows = json.loads((folder / "leaderboard.json").read_text())["rows"]
    assert {row["stage"]: row["is_engine_compared"] for row in rows} == {"base": True, "sft": False}
    page = (folder / "index.html").read_text()
    assert "Not checked for sft (--no-parity)" in page
    assert "not compared with the model" in page
