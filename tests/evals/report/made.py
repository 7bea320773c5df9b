"""Answers and questions made by hand, for tests of what is told of them."""

from evals.report.answers.answer import Answer, Question


def answer(score, *, text="yes", parsed="yes", cut=False, refused=False, content=None):
    is_parsed = parsed not in (None, "other")
    return Answer(text, score, "ok", parsed, is_parsed, cut, refused, 3, None, content)


def asked(*answers, wanted="Yes", category="color", cluster="q"):
    return Question("q", category, "?", [wanted], [], list(answers), cluster=cluster)
