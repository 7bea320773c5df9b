"""Why a score moved: the difference in accuracy, question by question, as form and sight."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evals.report.answers import Answer, Question
from evals.report.figures import PERCENT, number
from rewards.letters import LETTERS

KINDS = ("readable", "cut", "refused", "worded", "sight")
_LETTERS = frozenset(LETTERS[:10])
_WORD = re.compile(r"\w+")
_LONGEST = 20_000  # characters of an answer that are compared
_SPOKEN = 0.03  # a share that moved by less is not spoken of


@dataclass(frozen=True)
class Move:
    """One share of a difference: on how many questions, by how many points of accuracy."""

    questions: int
    points: float
    right: int  # questions of these that the later stage answered rightly


@dataclass(frozen=True)
class Split:
    """A difference in accuracy as a sum: `readable`, `cut`, `refused` and `worded` (the same answer
    with more or fewer words around it) are form, `sight` is other answers to questions that both
    stages answered in a readable form. The points add up to `total`.
    """

    n: int
    total: float
    moves: dict[str, Move]

    @property
    def form(self) -> float:
        return sum(move.points for kind, move in self.moves.items() if kind != "sight")

    @property
    def sight(self) -> float:
        return self.moves["sight"].points

    @property
    def what(self) -> str:
        """`form`, `sight`, `both` or `neither`: where at least two thirds of what moved lie."""
        form, sight = abs(self.form), abs(self.sight)
        if form + sight < 0.05:
            return "neither"
        return "form" if form >= 2 * sight else "sight" if sight >= 2 * form else "both"


@dataclass(frozen=True)
class Habits:
    """How one stage answers, whatever is right: shares of its answers."""

    answers: int
    parsed: float
    refused: float
    cut: float
    mean_tokens: float | None
    mean_characters: float
    read_accuracy: float | None
    yes: float | None
    yes_wanted: float | None
    letter: str | None
    letter_excess: float | None


def habits(questions: Sequence[Question], column: int) -> Habits | None:
    """One stage's habits; None where it was not asked."""
    pairs = [
        (question, answer)
        for question in questions
        if (answer := question.answers[column]) is not None and answer.score is not None
    ]
    if not pairs:
        return None
    answers = [answer for _, answer in pairs]
    n = len(answers)
    read = [answer.score or 0.0 for answer in answers if answer.is_parsed]
    tokens = [answer.tokens for answer in answers if answer.tokens is not None]
    said = Counter(_choice(answer.parsed) for answer in answers if answer.is_parsed)
    wanted = Counter(_choice(_first(question)) for question, _ in pairs)
    yes, yes_wanted = _yes(said), _yes(wanted)
    letter, excess = _lean(said, wanted)
    return Habits(
        answers=n,
        parsed=sum(answer.is_parsed for answer in answers) / n,
        refused=sum(answer.is_refused for answer in answers) / n,
        cut=sum(answer.is_cut for answer in answers) / n,
        mean_tokens=sum(tokens) / len(tokens) if tokens else None,
        mean_characters=sum(len(answer.text) for answer in answers) / n,
        read_accuracy=sum(read) / len(read) if read else None,
        yes=yes if yes_wanted is not None else None,
        yes_wanted=yes_wanted,
        letter=letter,
        letter_excess=excess,
    )


def split(questions: Sequence[Question], now: int, before: int) -> Split | None:
    """The difference between two stages as a sum of moves; None where they share no question.

    >>> from evals.report.answers import Answer, Question
    >>> unread = Answer("?", 0.0, "unparsed", None, False, False, False, 1, None)
    >>> yes = Answer("yes", 1.0, "ok", "yes", True, False, False, 1, None)
    >>> told = split([Question("a", "", "", [], [], [unread, yes])], 1, 0)
    >>> told.total, told.moves["readable"].points, told.what
    (100.0, 100.0, 'form')
    """
    pairs = [
        (old, new)
        for question in questions
        if (old := question.answers[before]) is not None
        and (new := question.answers[now]) is not None
        and old.score is not None
        and new.score is not None
    ]
    if not pairs:
        return None
    sums = {kind: [0, 0.0, 0] for kind in KINDS}
    for old, new in pairs:
        found = sums[_kind(old, new)]
        found[0] += 1
        found[1] += 100 * ((new.score or 0.0) - (old.score or 0.0)) / len(pairs)
        found[2] += (new.score or 0.0) >= 1
    moves = {kind: Move(int(q), float(p), int(r)) for kind, (q, p, r) in sums.items()}
    return Split(len(pairs), sum(move.points for move in moves.values()), moves)


def _kind(old: Answer, new: Answer) -> str:
    if old.is_refused != new.is_refused:
        return "refused"
    if old.is_cut != new.is_cut:
        return "cut"
    if old.is_parsed != new.is_parsed:
        return "readable"
    return "worded" if old.score != new.score and _is_worded(old.text, new.text) else "sight"


def _is_worded(one: str, other: str) -> bool:
    """Whether one answer's words stand in the other, in a row.

    >>> _is_worded("The word is Stop.", "stop"), _is_worded("41", "4"), _is_worded("yes", "no")
    (True, False, False)
    """
    short, long = sorted((_words(one), _words(other)), key=len)
    return bool(short) and f" {short} " in f" {long} "


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text[:_LONGEST].lower()))


def in_words(split: Split, baseline: float | None) -> str:
    """One sentence that tells form from sight."""
    form, sight = _points(split.form), _points(split.sight)
    if split.what == "neither":
        return "accuracy moved neither by form nor by sight"
    form_is = "form (readable, whole, no words around them)"
    if split.what == "sight":
        text = f"sight: {sight} points come from other answers, {form} from their {form_is}"
    else:
        text = f"{split.what}: {form} points come from the answers' {form_is}, "
        text += f"{sight} from other answers"
    turned = [split.moves[kind] for kind in KINDS if kind not in ("worded", "sight")]
    asked, right = sum(move.questions for move in turned), sum(move.right for move in turned)
    if split.what != "sight" and split.form > 0 and asked and baseline is not None:
        share = right / asked
        spread = 2 * (baseline * (1 - baseline) / asked) ** 0.5
        text += f"; of the answers that became readable or ceased to be, {PERCENT.value(share)} "
        text += f"are right, the most common answer alone would give {PERCENT.value(baseline)}: "
        text += "more than form" if share > baseline + spread else "form alone explains it"
    return text


def habits_in_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What changed in how a stage answers, whatever is right; empty where nothing did to speak of.
    Both are `Habits` as dictionaries.
    """
    told = []
    if after.get("yes_wanted") is not None and (moved := _moved(before, after, "yes")):
        told.append(f"yes {moved} (wanted {PERCENT.value(after['yes_wanted'])})")
    excess = after.get("letter_excess") or 0.0
    if excess >= 2 * _SPOKEN:
        told.append(f"leans to {after['letter']}, {_points(100 * excess)} points beyond its share")
    if moved := _moved(before, after, "refused"):
        told.append(f"refusals {moved}")
    old, new = before.get("mean_tokens"), after.get("mean_tokens")
    if old and new and not 0.8 <= new / old <= 1.25:
        told.append(f"length {number(old, 1)} → {number(new, 1)} tokens")
    return ", ".join(told)


def _moved(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> str:
    """A share from and to; empty where it hardly moved."""
    old, new = before.get(key), after.get(key)
    if old is None or new is None or abs(new - old) < _SPOKEN:
        return ""
    return f"{PERCENT.value(old)} → {PERCENT.value(new)}"


def as_dict(split: Split | None) -> dict[str, Any] | None:
    """As it is kept between two reports."""
    return None if split is None else asdict(split)


def from_dict(value: dict[str, Any] | None) -> Split | None:
    """The reverse of `as_dict`."""
    if value is None:
        return None
    moves = {kind: Move(**move) for kind, move in value["moves"].items()}
    return Split(value["n"], value["total"], moves)


def _points(value: float) -> str:
    return number(value, 1, sign=True)


def _first(question: Question) -> str:
    return question.references[0].partition(" ×")[0] if question.references else ""


def _choice(text: str | None) -> str:
    """`yes`, `no`, a letter, or nothing of these."""
    bare = (text or "").strip().rstrip(".").strip("()")
    if bare.lower() in ("yes", "no"):
        return bare.lower()
    return bare.upper() if bare.upper() in _LETTERS else ""


def _yes(found: Counter[str]) -> float | None:
    """The share of yes where yes and no are what is found; None elsewhere."""
    both = found["yes"] + found["no"]
    return found["yes"] / both if both and both >= 0.9 * found.total() else None


def _lean(said: Counter[str], wanted: Counter[str]) -> tuple[str | None, float | None]:
    """The letter that is given most beyond its share of the references, and by how much."""
    given = sum(said[letter] for letter in _LETTERS)
    asked = sum(wanted[letter] for letter in _LETTERS)
    if not given or asked < 0.5 * wanted.total():
        return None, None
    excess = {x: said[x] / given - wanted[x] / asked for x in sorted(_LETTERS)}
    most = max(excess, key=lambda letter: excess[letter])
    return most, excess[most]
