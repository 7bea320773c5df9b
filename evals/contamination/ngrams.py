"""Which benchmark questions are in the training text: by shared 13-grams, short questions as a
whole.

Text is compared as words: NFKC, case folded, punctuation dropped, each CJK character a word.

- *13 words or more.* The 13-grams that the question shares with any training text cover some of its
  words; the share of covered words is its overlap. Source: 13-grams are GPT-3's (arXiv 2005.14165,
  appendix C); the share of covered words is Llama 2's measure (arXiv 2307.09288, A.6).
- *Fewer words, no image.* The whole question must be in one training text. Below 8 words (GPT-3's
  smallest n) a reference answer must be in the same text too: "What is 2 + 2?" alone is common.
  This is a rule of our own.
- *An image and fewer than 26 words.* The words are not compared: "Is there a car in the picture?"
  is asked of many pictures, so only a known picture counts (`perceptual`). A rule of our own too.
- *Templates.* A 13-gram of more than 10 different questions of one benchmark is its template
  ("Answer with the option's letter ..."), and is left out.

Millions of training rows are compared with tens of thousands of questions, so n-grams are compared
by 64-bit rolling hashes, first through a bit table (`_Table.filter`) that rejects nearly all.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

N, SHORTEST, LONG = 13, 8, 26  # the three limits above, in words
_TEMPLATE = 10  # questions that may share a 13-gram before it is a template
_CHUNK = 20_000  # training texts hashed at once
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af"
_WORD = re.compile(f"[{_CJK}]|[^\\W_{_CJK}]+")
_MARKS = {code: " " for code in range(128) if not chr(code).isalnum()}
# An odd constant without structure (2^64 / golden ratio): the base of the polynomial hash.
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_FILTER_BITS = 24

Hashes = NDArray[np.uint64]


def words_of(text: str) -> list[str]:
    """The words of a text as they are compared.

    >>> words_of("What's in the CAR?"), words_of("有几只猫 Ａ")
    (['what', 's', 'in', 'the', 'car'], ['有', '几', '只', '猫', 'a'])
    """
    if text.isascii():
        return text.lower().translate(_MARKS).split()
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True)
class Question:
    """A benchmark question: its text, its reference answers, and whether it is about an image."""

    text: str
    references: tuple[str, ...]
    has_image: bool


@dataclass(frozen=True)
class Covered:
    """The share of a question's words that training text covers (0 to 1), and the first training
    row that covers any.
    """

    share: float
    row: int | None


class TextIndex:
    """Looks for questions in training texts. `groups` names the benchmark of each question.

    >>> question = Question("How many legs does a spider have?", ("8",), has_image=False)
    >>> index = TextIndex([question], ["mine"])
    >>> index.add(["Cats are soft.", "how many legs does a SPIDER have: 8"])
    2
    >>> index.covered()
    [Covered(share=1.0, row=1)]
    """

    def __init__(self, questions: Sequence[Question], groups: Sequence[str]) -> None:
        self.questions = questions
        self._words = [words_of(question.text) for question in questions]
        self._numbers: dict[str, int] = {}
        for words in self._words:
            for word in words:
                self._numbers.setdefault(word, len(self._numbers) + 1)
        # Each word gets a random 64-bit value. Number 0 is every word that no question has.
        rng = np.random.default_rng(0)
        self._values = rng.integers(0, 2**64, len(self._numbers) + 1, dtype=np.uint64)
        self._grams = [self._of(words) for words in self._words]
        self._drop_templates(groups)
        wanted: dict[int, list[Hashes]] = {}
        for (length, hashes), _ in zip(self._grams, questions, strict=True):
            if len(hashes):
                wanted.setdefault(length, []).append(hashes)
        self._tables = {length: _Table(np.concatenate(found)) for length, found in wanted.items()}
        self._answers = [
            [words for words in map(words_of, question.references) if words]
            if not question.has_image and len(words_of(question.text)) < SHORTEST
            else []
            for question in questions
        ]
        self._with_answer: dict[int, list[int]] = {}  # hash of a very short question -> questions
        for number, (_, hashes) in enumerate(self._grams):
            if 0 < len(self._words[number]) < SHORTEST and len(hashes):
                self._with_answer.setdefault(int(hashes[0]), []).append(number)
        self._answered: dict[int, int] = {}  # question -> row that holds it with its answer

    def _of(self, words: list[str]) -> tuple[int, Hashes]:
        """(n, hashes) of a question's n-grams; n is 13, or the length of a shorter question."""
        length = min(N, len(words))
        return length, _rolling(self._values[[self._numbers[word] for word in words]], length)

    def _drop_templates(self, groups: Sequence[str]) -> None:
        """Drops the n-grams of templates, and all n-grams of questions whose image decides. A
        dropped n-gram keeps its place as hash 0, so that the places of the others stay what they
        are.
        """
        texts = {(group, " ".join(words)) for group, words in zip(groups, self._words, strict=True)}
        counts: Counter[tuple[str, int]] = Counter()
        for group, text in texts:
            counts.update((group, int(gram)) for gram in np.unique(self._of(text.split())[1]))
        for number, (group, question) in enumerate(zip(groups, self.questions, strict=True)):
            length, hashes = self._grams[number]
            if question.has_image and len(self._words[number]) < LONG:
                self._grams[number] = (length, hashes[:0])
                continue
            if length < N:
                continue
            is_own = np.array([counts[group, int(gram)] <= _TEMPLATE for gram in hashes])
            if is_own.any() or question.has_image:
                kept = np.where(is_own, hashes, np.uint64(0))
                self._grams[number] = (length, kept)

    def add(self, texts: Iterable[str]) -> int:
        """Looks through training texts. Their row numbers continue those of the last call. Returns
        how many texts there were.
        """
        stream, done = iter(texts), getattr(self, "_rows", 0)
        start = done
        while chunk := list(islice(stream, _CHUNK)):
            self._chunk(chunk, done)
            done += len(chunk)
        self._rows = done
        return done - start

    def _chunk(self, texts: list[str], first: int) -> None:
        get = self._numbers.get
        numbers: list[int] = []
        ends = np.empty(len(texts), dtype=np.int64)
        for at, text in enumerate(texts):
            numbers += [get(word, 0) for word in words_of(text)]
            numbers.append(0)  # a word of no question: no n-gram runs over the end of a text
            ends[at] = len(numbers)
        values = self._values[np.array(numbers, dtype=np.int64)]
        for length, table in self._tables.items():
            for place, gram in table.look_up(_rolling(values, length), every=length < SHORTEST):
                row = int(np.searchsorted(ends, place, side="right"))
                table.seen.setdefault(gram, first + row)
                for question in self._with_answer.get(gram, ()) if length < SHORTEST else ():
                    if question not in self._answered and self._holds(texts[row], question):
                        self._answered[question] = first + row

    def _holds(self, text: str, question: int) -> bool:
        """Whether a text that holds the question holds one of its answers too, outside the
        question.
        """
        words = words_of(text)
        asked = self._words[question]
        rest = _without(words, asked)
        return any(_contains(rest, answer) for answer in self._answers[question])

    def covered(self) -> list[Covered]:
        """What was found of each question, in their order."""
        return [self._covered(number) for number in range(len(self.questions))]

    def _covered(self, number: int) -> Covered:
        length, hashes = self._grams[number]
        words = self._words[number]
        if not len(hashes):
            return Covered(0.0, None)
        if len(words) < SHORTEST:
            row = self._answered.get(number)
            return Covered(float(row is not None), row)
        seen = self._tables[length].seen
        found = [(at, seen[int(gram)]) for at, gram in enumerate(hashes) if int(gram) in seen]
        is_covered = np.zeros(len(words), dtype=bool)
        for at, _ in found:
            is_covered[at : at + length] = True
        is_looked_for = np.zeros(len(words), dtype=bool)
        for at, gram in enumerate(hashes):
            if gram:
                is_looked_for[at : at + length] = True
        share = float(is_covered.sum() / max(1, is_looked_for.sum()))
        return Covered(share, found[0][1] if found else None)


class _Table:
    """The n-gram hashes of one length that are looked for; `seen` maps those found to the first row
    that has them.
    """

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = np.unique(hashes[hashes != 0])
        self.filter = np.zeros(1 << _FILTER_BITS, dtype=bool)
        self.filter[self.hashes >> np.uint64(64 - _FILTER_BITS)] = True
        self.seen: dict[int, int] = {}

    def look_up(self, hashes: Hashes, *, every: bool) -> list[tuple[int, int]]:
        """(place, hash) of the hashes that are looked for; only the first place of each unless
        `every`.
        """
        if not len(self.hashes) or not len(hashes):
            return []
        near = np.flatnonzero(self.filter[hashes >> np.uint64(64 - _FILTER_BITS)])
        some = hashes[near]
        at = np.minimum(np.searchsorted(self.hashes, some), len(self.hashes) - 1)
        is_known = self.hashes[at] == some
        near, some = near[is_known], some[is_known]
        if not every:
            some, first = np.unique(some, return_index=True)
            near = near[first]
        return list(zip(near.tolist(), some.tolist(), strict=True))


def _rolling(values: Hashes, length: int) -> Hashes:
    """The polynomial hash (modulo 2^64) of every run of `length` values; never 0."""
    count = len(values) - length + 1
    if length == 0 or count <= 0:
        return np.zeros(0, dtype=np.uint64)
    found = values[:count].copy()
    for offset in range(1, length):
        found *= _FACTOR
        found += values[offset : offset + count]
    # Mixed: runs that differ in their last word alone would otherwise share the high bits, by which
    # `_Table.filter` looks them up.
    found ^= found >> np.uint64(32)
    found *= np.uint64(0xD6E8FEB86659FD93)
    found[found == 0] = 1
    return found


def _contains(words: Sequence[Any], part: Sequence[Any]) -> bool:
    size = len(part)
    return any(list(words[at : at + size]) == list(part) for at in range(len(words) - size + 1))


def _without(words: list[str], part: list[str]) -> list[str]:
    """The words without the first run `part`; a word that matches nothing takes its place, so that
    no answer is found across the gap.
    """
    size = len(part)
    for at in range(len(words) - size + 1):
        if words[at : at + size] == part:
            return [*words[:at], "\0", *words[at + size :]]
    return words
