"""Which answers the page holds."""

import json

from evals.report import examples
from evals.report.examples import browse, clip
from evals.report.run import read_run


def test_questions_that_tell_stages_apart_come_first_and_the_order_is_fixed(make_run):
    run = read_run(make_run())
    browser = browse(run, "mme")
    assert browser is not None
    differs = [
        len({(a["score"], a["status"]) for a in item["answers"]}) > 1
        for item in browser.payload["items"]
    ]
    assert differs == sorted(differs, reverse=True)
    assert browser.payload == browse(run, "mme").payload


def test_the_page_holds_a_bounded_number_and_says_of_how_many(make_run, monkeypatch):
    monkeypatch.setattr(examples, "MAX_ITEMS", 5)
    browser = browse(read_run(make_run()), "mme")
    assert (browser.shown, browser.payload["total"]) == (5, 24)
    monkeypatch.setattr(examples, "MAX_CHARACTERS", 10)
    assert browse(read_run(make_run()), "mme").shown == 1


def test_an_answer_that_failed_on_our_side_is_no_wrong_answer(make_run):
    run = make_run(stages=("base", "sft"))
    for name, change in (
        ("responses.jsonl", {"error": "image unreadable", "response": None}),
        ("scores.jsonl", {"score": None, "status": "error", "parsed": None}),
    ):
        path = run / "evals" / "sft" / "mme" / name
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = [row | change if row["sample_id"] == "report-0000-0" else row for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = {item["id"]: item for item in browse(read_run(run), "mme").payload["items"]}
    answer = items["report-0000-0"]["answers"][1]
    assert (answer["score"], answer["status"]) == (None, "error")
    assert (answer["text"], answer["error"]) == ("", "image unreadable")


def test_image_names_that_are_no_hashes_are_left_out(make_run):
    run = make_run(stages=("base",), benchmarks=("mme",))
    path = run / "evals" / "base" / "mme" / "responses.jsonl"
    rows = [json.loads(line) | {"images": ["../../../etc/passwd"]} for line in path.open()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert browse(read_run(run), "mme").images == []


def test_a_stage_that_missed_a_question_has_a_gap(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("mme",))
    path = run / "evals" / "sft" / "mme" / "responses.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    items = browse(read_run(run), "mme").payload["items"]
    assert sum(item["answers"][1] is None for item in items) == 1


def test_clipping_says_how_much_is_gone():
    assert clip("a" * 10, 20) == "a" * 10
    assert clip("a" * 1200, 100).endswith("(1,100 more characters in responses.jsonl)")
    assert clip(None, 5) == ""
    assert clip(["x"], 50) == '["x"]'
