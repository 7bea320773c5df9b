"""What an answer states, whatever the words around it: its score in content.

A rule that compares whole answers scores "There are 3 shapes." with 0 where "3" is right. The
content of that answer is 1: its words include those of the reference "3", in a row, and the rule
scores "3" with 1. In general the content is the best score that the rule gives to a reference whose
words are in the answer, and never less than the score. Grading stays with the rule.

Limits: an answer that names several things states each of them, and one that denies a thing states
it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evals.asking.judge import Judged
from evals.base import Benchmark
from evals.report.answers.wording import holds, is_read_in_part, words
from evals.scoring.samples import answer_rows
from rewards.letters import LETTERS
from rl.errors import PlumblineError

_POLAR = frozenset({"yes", "no"})
_LETTERS = frozenset(letter.lower() for letter in LETTERS[:10])

Row = Mapping[str, Any]


class Contents:
    """The contents of one benchmark's answers: its rule scores each reference as if it were the
    answer, once per question and reference. Without the rule (None), and where a judge model
    scores the answers, the content is the score.

        contents = Contents(judge_of(run, "textvqa"))
        contents.of(row, score=0.0, parsed="it is 3", profile="official")  # 1.0 where 3 is right
    """

    def __init__(self, judge: Benchmark | None) -> None:
        self._judge = None if isinstance(judge, Judged) else judge
        self._alone: dict[tuple[str, str, str], float] = {}

    def of(self, row: Row, score: float | None, parsed: Any, profile: str) -> float | None:
        """The content of the answer in a row of responses.jsonl, never below its score; the mean
        where the question was answered several times.
        """
        judge = self._judge
        if judge is None or score is None or score >= 1:
            return score
        if not row.get("samples"):
            return self._one(judge, row, score, parsed, profile)
        try:
            answers = answer_rows(row)
            if not any(map(_names_a_reference, answers)):
                return score
            verdicts = [judge.score(one, profile) for one in answers]
        except (PlumblineError, KeyError):
            return score
        found = [
            self._one(judge, one, verdict.score, verdict.parsed, profile)
            for one, verdict in zip(answers, verdicts, strict=True)
            if verdict.score is not None
        ]
        return max(score, sum(found) / len(found)) if found else score

    def _one(self, judge: Benchmark, row: Row, score: float, parsed: Any, profile: str) -> float:
        references, text = row.get("references"), row.get("response")
        if not isinstance(references, list) or not isinstance(text, str):
            return score
        if is_read_in_part(text, parsed):
            return score
        said, best = words(text), score
        for reference in dict.fromkeys(one for one in references if isinstance(one, str)):
            if best < 1 and _states(said, words(reference)):
                best = max(best, self._of_alone(judge, row, reference, profile))
        return best

    def _of_alone(self, judge: Benchmark, row: Row, reference: str, profile: str) -> float:
        key = (str(row.get("sample_id")), reference, profile)
        if key not in self._alone:
            bare = {**row, "response": reference, "samples": None}
            try:
                self._alone[key] = judge.score(bare, profile).score or 0.0
            except (PlumblineError, KeyError):
                self._alone[key] = 0.0
        return self._alone[key]


def _names_a_reference(row: Row) -> bool:
    """Whether any reference appears in the answer, so that the rule has something to score."""
    references, text = row.get("references"), row.get("response")
    if not isinstance(references, list) or not isinstance(text, str):
        return False
    said = words(text)
    return any(_states(said, words(str(reference))) for reference in set(map(str, references)))


def _states(said: str, reference: str) -> bool:
    """Whether an answer states a reference. Yes and no count at the beginning of an answer only. A
    single letter has to be the whole answer: elsewhere it may be any word, such as "a".

    >>> _states("there are 3 shapes", "3"), _states("there is no dog", "no"), _states("a cat", "a")
    (True, False, False)
    """
    if reference in _LETTERS:
        return said == reference
    return f"{said} ".startswith(f"{reference} ") if reference in _POLAR else holds(said, reference)
