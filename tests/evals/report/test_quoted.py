"""The few answers that stand in the page itself."""

from evals.report import build_report
from evals.report.answers.answer import Answer, Question
from evals.report.answers.quoted import as_lists, from_lists, quotes
from tests.evals.report.conftest import MadeRun


def question(name, before, after, text="a", then="b"):
    answers = [
        None if score is None else Answer(said, score, "ok", "a", True, False, False, 1, None)
        for score, said in ((before, text), (after, then))
    ]
    return Question(name, "color", "What\ncolour?", ["red ×9", "pink"], [], answers)


def test_two_that_became_right_and_one_that_is_no_longer():
    found = quotes(
        [
            question("same", 1.0, 1.0),
            question("rose", 0.0, 0.6),
            question("won-1", 0.6, 1.0),
            question("lost-1", 1.0, 0.6),
            question("unasked", None, 1.0),
            question("won-2", 0.0, 1.0),
            question("lost-2", 1.0, 0.0),
            question("won-3", 0.0, 1.0),
        ],
        1,
        0,
    )
    assert [(quote.id, quote.kind) for quote in found] == [
        ("won-1", "became right"),
        ("won-2", "became right"),
        ("lost-1", "no longer right"),
    ]
    assert found[0].wanted == "red"
    assert found[0].question == "What colour?"
    assert from_lists(as_lists(found)) == found


def test_long_and_empty_answers_are_a_line():
    (quote,) = quotes([question("q", 0.0, 1.0, text="", then="word " * 300_000)], 1, 0)
    assert quote.before == "(empty)"
    assert len(quote.after) == 121
    assert quote.after.endswith("…")


def test_the_page_holds_them_as_text(tmp_path):
    hostile = "</td><script>window.harmed = 1</script> \u202etfel"
    answers = {("dpo", "mme", f"report-{n:04d}-0"): hostile for n in range(12)}
    text = build_report(MadeRun(tmp_path / "run", answers=answers).write()).read_text()
    assert "became right</small>" in text
    assert "Answers that changed in grpo" in text
    assert "&lt;/td&gt;&lt;script&gt;window.harmed = 1&lt;/script&gt; ⟨RLO⟩tfel" in text
    assert "window.harmed = 1</script>" not in text
