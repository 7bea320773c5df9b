"""Why a score moved: the difference in accuracy, by question, as answered, form and sight.

An answer has a score and a content (`evals.report.answers.content`): the score it would have
without the words around it. Every question's difference is the difference of the contents plus that
of (score minus content). So the parts add up exactly, and each changes its sign when the two stages
are exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evals.report.answers.answer import Answer, Question, shared
from evals.report.answers.shift import Shift
from evals.report.display.figures import PERCENT, count, number
from evals.report.records import Interval

REASONS = ("refused", "cut", "unreadable")  # why one of the two stages gave no answer
KINDS = ("form", *REASONS, "sight")
_REASON_WORDS = {"refused": "refused", "unreadable": "unreadable", "cut": "cut off"}
_HARDLY = 0.05  # points


@dataclass(frozen=True)
class Move:
    """One share of a difference: on how many questions (of form and sight, those that moved), by
    how many points of accuracy.
    """

    questions: int
    points: float


@dataclass(frozen=True)
class Answered:
    """Questions that only one of the two stages answered, and the share right in content there."""

    questions: int = 0
    right: float = 0.0


@dataclass(frozen=True)
class Split:
    """A difference in accuracy as a sum, whose points add up to `total`. `form`: right answers that
    the rule did not take for the words around them, or the reverse. `refused`, `unreadable`, `cut`:
    content where exactly one of the stages gave an answer, by what the other one's was (the first
    of these that it is). `sight`: other content where both gave one, or neither.

    `newly` are the questions that the later stage answered and the earlier did not, `ceased` the
    reverse; `content` the shares right in content, before and now, and `interval` that of their
    difference.
    """

    n: int
    total: float
    moves: dict[str, Move]
    newly: Answered = Answered()
    ceased: Answered = Answered()
    content: tuple[float, float] = (0.0, 0.0)
    interval: Interval | None = None
    shift: Shift | None = None

    @property
    def form(self) -> float:
        return self.moves["form"].points

    @property
    def answered(self) -> float:
        return sum(self.moves[kind].points for kind in REASONS)

    @property
    def sight(self) -> float:
        return self.moves["sight"].points

    @property
    def parts(self) -> dict[str, float]:
        """The three parts by name, the largest first."""
        found = {"form": self.form, "answered": self.answered, self.seen: self.sight}
        return dict(sorted(found.items(), key=lambda item: -abs(item[1])))

    @property
    def seen(self) -> str:
        """The name of the part for other answers: where they only shifted between yes and no, this
        is not called sight.
        """
        return "shift of yes" if self.shift is not None and self.shift.is_all else "sight"

    @property
    def is_spoken(self) -> bool:
        """Whether the parts moved by enough to be reported."""
        return sum(map(abs, self.parts.values())) >= _HARDLY

    def is_beyond(self, baseline: float | None) -> bool:
        """Whether the new answers are right more often than the most common answer would be, by
        more than two standard errors.
        """
        n = self.newly.questions
        if not n or baseline is None:
            return False
        spread: float = (baseline * (1 - baseline) / n) ** 0.5
        return self.newly.right > baseline + 2 * spread

    @property
    def new_answers(self) -> str:
        """`47.1 % of the 1 985 new answers are right in content`."""
        of = " in content" if self.moves["form"].questions else ""
        right = PERCENT.value(self.newly.right)
        return f"{right} of the {count(self.newly.questions)} new answers are right{of}"

    @property
    def what(self) -> str:
        """The part that is at least two thirds of what moved, else the two largest."""
        parts = self.parts
        first, second, _ = parts
        if not self.is_spoken:
            return "neither"
        whole = sum(map(abs, parts.values()))
        return first if abs(parts[first]) >= 2 / 3 * whole else f"{first} and {second}"


def split(questions: Sequence[Question], now: int, before: int) -> Split | None:
    """The difference between two stages as a sum of moves; None where they share no question.

    >>> from evals.report.answers.answer import Answer, Question
    >>> wordy = Answer("it is 3", 0.0, "ok", "it is 3", True, False, False, 3, None, content=1.0)
    >>> bare = Answer("3", 1.0, "ok", "3", True, False, False, 1, None)
    >>> parts = split([Question("a", "", "", [], [], [wordy, bare])], 1, 0)
    >>> parts.total, parts.form, parts.sight, parts.what
    (100.0, 100.0, 0.0, 'form')
    """
    pairs = shared(questions, now, before)
    if not pairs:
        return None
    sums = {kind: [0, 0.0] for kind in KINDS}
    newly: list[float] = []
    ceased: list[float] = []
    for _, old, new in pairs:
        content = new.states - old.states
        form = ((new.score or 0.0) - new.states) - ((old.score or 0.0) - old.states)
        kind = "sight"
        if old.is_given != new.is_given:
            kind = _reason(old if new.is_given else new)
            (newly if new.is_given else ceased).append(new.states if new.is_given else old.states)
        for name, moved in (("form", form), (kind, content)):
            sums[name][0] += moved != 0 or name in REASONS
            sums[name][1] += moved
    n = len(pairs)
    moves = {kind: Move(int(q), 100 * p / n) for kind, (q, p) in sums.items()}
    return Split(
        n=n,
        total=sum(move.points for move in moves.values()),
        moves=moves,
        newly=_answered(newly),
        ceased=_answered(ceased),
        content=(
            sum(old.states for _, old, _ in pairs) / n,
            sum(new.states for _, _, new in pairs) / n,
        ),
        shift=Shift.of(pairs),
    )


def _reason(answer: Answer) -> str:
    """Why this is no answer: the first of `REASONS` that holds."""
    return "refused" if answer.is_refused else "cut" if answer.is_cut else "unreadable"


def _answered(found: Sequence[float]) -> Answered:
    return Answered(len(found), sum(found) / len(found)) if found else Answered()


def in_words(split: Split, baseline: float | None) -> str:
    """One sentence on the three parts of a difference: answered, form and sight."""
    if not split.is_spoken:
        return "accuracy moved neither by form nor by sight"
    what = split.what
    named = [
        (points, _part(split, name, points))
        for name, points in split.parts.items()
        if abs(points) >= _HARDLY or (name == "sight" and what == "form")
    ]
    parts = [
        f"{number(points, 1, sign=True)}{'' if at else ' points'} {words}"
        for at, (points, words) in enumerate(named)
    ]
    text = [f"{what}: {', '.join(parts)}"]
    if "answered" in what:
        if split.newly.questions and baseline is not None:
            text.append(_against_always(split, baseline))
    elif split.interval is not None or "form" in what:
        text.append(_seen(split))
    if split.shift is not None and split.shift.is_all:
        always, accuracy = split.shift.always
        text.append(f"{split.shift.in_words}; always answering {always}: {PERCENT.value(accuracy)}")
    return "; ".join(text)


def _part(split: Split, name: str, points: float) -> str:
    if name == "form":
        if points > 0:
            return "are right answers that lost the words around them"
        return "are right answers that the rule does not take for the words around them"
    if name == "answered":
        return f"come from {_answered_in_words(split)}"
    return "come from other answers" if name == "sight" else "come from a shift of yes, not sight"


def _answered_in_words(split: Split) -> str:
    """`1 987 questions that its parent did not answer (1 985 cut off, 2 unreadable)`."""
    newly, ceased = split.newly.questions, split.ceased.questions
    whose = "that its parent did not answer" if not ceased else "that it does not answer"
    if newly and ceased:
        whose = "that only one of the two stages answered"
    reasons = ", ".join(
        f"{count(split.moves[kind].questions)} {_REASON_WORDS[kind]}"
        for kind in REASONS
        if split.moves[kind].questions
    )
    n = newly + ceased
    return f"{count(n)} question{'s' if n != 1 else ''} {whose} ({reasons})"


def _against_always(split: Split, baseline: float) -> str:
    """The share right of the new answers, beside that of always giving the most common one."""
    more = split.is_beyond(baseline)
    return (
        f"{split.new_answers}; always giving the most common answer: {PERCENT.value(baseline)}, "
        f"{'clearly less' if more else 'not clearly less'}"
    )


def seen(split: Split) -> str:
    """Whether the stage sees better, by the paired interval of content."""
    before, now = split.content
    moved = now - before
    low, high = split.interval or (min(0.0, moved), max(0.0, moved))
    if low > 0:
        return "it sees better"
    if high < 0:
        return "it sees worse"
    return "no evidence that it sees better"


def _seen(split: Split) -> str:
    """Whether the stage sees better, with the figures."""
    before, now = split.content
    moved = now - before
    figures = f"{number(100 * moved, 1, sign=True)} {PERCENT.interval(split.interval)}".rstrip()
    right = f"right in content {PERCENT.value(before)} → {PERCENT.value(now)}"
    return f"{seen(split)}: {right} ({figures})"


def as_dict(split: Split | None) -> dict[str, Any] | None:
    """The form in which it is kept between two reports."""
    return None if split is None else asdict(split)


def from_dict(value: Mapping[str, Any] | None) -> Split | None:
    """The reverse of `as_dict`."""
    if value is None:
        return None
    interval, shift = value["interval"], value["shift"]
    before, now = value["content"]
    return Split(
        n=value["n"],
        total=value["total"],
        moves={kind: Move(**move) for kind, move in value["moves"].items()},
        newly=Answered(**value["newly"]),
        ceased=Answered(**value["ceased"]),
        content=(before, now),
        interval=None if interval is None else (interval[0], interval[1]),
        shift=None if shift is None else Shift(**shift),
    )
