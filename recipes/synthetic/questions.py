"""What is asked about a world: short-answer skills, MME's yes/no pairs, annotators' answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from recipes.synthetic.worlds import COLORS, KINDS, PLACES, SHAPES, WORDS, Kind, Part, World, worlds

SHORT_ANSWER = "\nAnswer the question using a single word or phrase."  # TextVQA's prompt
YES_NO = " Please answer yes or no."  # ends every MME question
EXISTING: dict[Kind, str] = {"shapes": "shape", "sign": "word", "digit": "handwritten number"}
FEW_OR_MANY = 0.7  # share of count pairs that ask for one or more than one
NUMBERS = ("zero", "one", "two", "three", "four")

# Four of MME's fourteen categories, 200 points each: the maximum of this subset is 800.
MME_CATEGORIES = ("existence", "count", "position", "color")
# What training asks most of a category. Balanced questions hide what the answer depends on: with
# each as often as its opposite, minutes of training find neither picture nor question telling.
USUAL = {"existence": "a shape", "count": "only one", "position": "top left", "color": " red "}
USUAL_SHARE = 0.75
TALKATIVE = ("count", "shape")
OPEN_SKILLS = ("color", "shape", "count", "position", "word", "digit")


@dataclass(frozen=True)
class Noise:
    """Shares of training answers that are not the bare right answer.

    Annotators of TALKATIVE skills mostly answer in one sentence, which an exact scorer does not
    accept: a habit that imitation learns, and that preferences and rewards can remove.
    """

    wordy: float = 0.25  # "It is red."
    talkative: float = 0.60  # the same, for TALKATIVE skills
    period: float = 0.10  # "red."
    wrong: float = 0.06
    bare_prompt: float = 0.15  # the question without the benchmark's instruction


@dataclass(frozen=True)
class Ask:
    """One question about a world. `wrong` are other answers of the right one's kind."""

    skill: str
    question: str
    answer: str
    wrong: tuple[str, ...]
    wordy: tuple[str, ...]  # the same answer in a sentence
    is_yes_no: bool = False

    @property
    def prompt(self) -> str:
        """What the benchmark asks: MME's bare question, or TextVQA's with its instruction."""
        return self.question if self.is_yes_no else self.question.capitalize() + SHORT_ANSWER

    def noisy_answer(self, noise: Noise, rng: random.Random) -> str:
        """An annotator's answer: mostly the bare right one."""
        if rng.random() < noise.wrong:
            return rng.choice(self.wrong)
        lot = rng.random()
        is_talkative = self.skill in TALKATIVE and not self.is_yes_no
        wordy = noise.talkative if is_talkative else noise.wordy
        if lot < wordy:
            return self.wordy[0] if is_talkative else rng.choice(self.wordy)
        return f"{self.answer}." if lot < wordy + noise.period else self.answer


def open_question(world: World, skill: str, rng: random.Random) -> Ask | None:
    """A short-answer question of one skill, or None where the world does not carry it."""
    return _OPEN[skill](world, rng)


def yes_no_pair(world: World, category: str, rng: random.Random) -> tuple[Ask, Ask] | None:
    """MME's two questions about one picture, the first to be answered Yes, the second No."""
    pair = _PAIRS[category](world, rng)
    if pair is None:
        return None
    right, wrong = pair
    return _yes_no(category, right, "Yes"), _yes_no(category, wrong, "No")


def _yes_no(category: str, question: str, answer: str) -> Ask:
    other = "No" if answer == "Yes" else "Yes"
    wordy = (f"The answer is {answer.lower()}.", f"I think {answer.lower()}.")
    return Ask(category, question, answer, (other,), wordy, is_yes_no=True)


# -- short-answer skills


def _others(answer: str, known: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in known if name != answer)


def _unique(world: World, key: Callable[[Any], Any], rng: random.Random) -> Any | None:
    """A thing that no other thing of the world resembles in `key`."""
    keys = [key(thing) for thing in world.things]
    single = [thing for thing in world.things if keys.count(key(thing)) == 1]
    return rng.choice(single) if single else None


def _ask_color(world: World, rng: random.Random) -> Ask | None:
    thing = _unique(world, lambda t: t.name, rng)
    if len({t.color for t in world.things}) == 1:
        thing, question = world.things[0], "what color do you see?"
    elif thing is not None and rng.random() < 0.5:
        question = f"what color is the {thing.name}?"
    else:
        thing = rng.choice(world.things)
        question = f"what color is the shape at the {thing.place}?"
    answer = thing.color
    wordy = (f"It is {answer}.", f"The color is {answer}.")
    return Ask("color", question, answer, _others(answer, tuple(COLORS)), wordy)


def _ask_shape(world: World, rng: random.Random) -> Ask | None:
    thing = _unique(world, lambda t: t.color, rng)
    if len({t.name for t in world.things}) == 1:
        thing, question = world.things[0], "what shape do you see?"
    elif thing is not None and rng.random() < 0.5:
        question = f"what is the {thing.color} shape?"
    else:
        thing = rng.choice(world.things)
        question = f"what shape is at the {thing.place}?"
    answer = thing.name
    wordy = (f"It is a {answer}.", f"The shape is a {answer}.")
    return Ask("shape", question, answer, _others(answer, SHAPES), wordy)


def _ask_count(world: World, rng: random.Random) -> Ask | None:
    answer = str(len(world.things))
    question = rng.choice(("how many shapes are there?", "how many shapes are in the image?"))
    wordy = (f"There are {answer} shapes.", f"I see {answer}.")
    return Ask("count", question, answer, _others(answer, ("1", "2", "3", "4")), wordy)


def _ask_position(world: World, rng: random.Random) -> Ask | None:
    thing = _unique(world, lambda t: (t.name, t.color), rng)
    if thing is None:
        return None
    question, answer = f"where is the {thing.color} {thing.name}?", thing.place
    wordy = (f"It is at the {answer}.", f"The {thing.name} is at the {answer}.")
    return Ask("position", question, answer, _others(answer, PLACES), wordy)


def _ask_word(world: World, rng: random.Random) -> Ask | None:
    answer = world.things[0].name
    question = rng.choice(("what does the sign say?", "what word is on the sign?"))
    wordy = (f"It says {answer}.", f"The sign says {answer}.")
    return Ask("word", question, answer, _others(answer, WORDS), wordy)


def _ask_digit(world: World, rng: random.Random) -> Ask | None:
    answer = world.things[0].name
    question = rng.choice(("what number is written by hand?", "which number is this?"))
    wordy = (f"It is a {answer}.", f"The number is {answer}.")
    return Ask("digit", question, answer, _others(answer, tuple("0123456789")), wordy)


_OPEN: dict[str, Callable[[World, random.Random], Ask | None]] = {
    "color": _ask_color,
    "shape": _ask_shape,
    "count": _ask_count,
    "position": _ask_position,
    "word": _ask_word,
    "digit": _ask_digit,
}


# -- MME's categories: (a question whose answer is Yes, one whose answer is No)


def _pair_existence(world: World, rng: random.Random) -> tuple[str, str] | None:
    wrong = rng.choice([kind for kind in KINDS if kind != world.kind])

    def ask(kind: Kind) -> str:
        return f"Is there a {EXISTING[kind]} in this image?{YES_NO}"

    return ask(world.kind), ask(wrong)


def _pair_count(world: World, rng: random.Random) -> tuple[str, str] | None:
    right = len(world.things)
    if rng.random() < FEW_OR_MANY:
        pair = (
            f"Is there only one shape in this image?{YES_NO}",
            f"Is there more than one shape in this image?{YES_NO}",
        )
        return pair if right == 1 else (pair[1], pair[0])
    wrong = rng.choice([n for n in range(1, 5) if n != right])

    def ask(n: int) -> str:
        shapes = "Is there one shape" if n == 1 else f"Are there {NUMBERS[n]} shapes"
        return f"{shapes} in this image?{YES_NO}"

    return ask(right), ask(wrong)


def _pair_position(world: World, rng: random.Random) -> tuple[str, str] | None:
    taken = {thing.place for thing in world.things}
    empty = [place for place in PLACES if place not in taken]
    if not empty:
        return None

    def ask(place: str) -> str:
        return f"Is there a shape at the {place} of this image?{YES_NO}"

    return ask(rng.choice(sorted(taken))), ask(rng.choice(empty))


def _pair_color(world: World, rng: random.Random) -> tuple[str, str] | None:
    absent = [color for color in COLORS if color not in {t.color for t in world.things}]
    if not absent:
        return None
    right, wrong = rng.choice(world.things).color, rng.choice(absent)
    return (
        f"Is there a {right} shape in this image?{YES_NO}",
        f"Is there a {wrong} shape in this image?{YES_NO}",
    )


_PAIRS: dict[str, Callable[[World, random.Random], tuple[str, str] | None]] = {
    "existence": _pair_existence,
    "count": _pair_count,
    "position": _pair_position,
    "color": _pair_color,
}


# -- streams


def questions(part: Part, rng: random.Random, *, yes_no: float) -> Iterator[tuple[World, Ask]]:
    """Endless different worlds with a training question about each; `yes_no` is the share of
    yes/no questions."""
    pools = {kind: worlds(kind, part, rng) for kind in KINDS}
    while True:
        is_yes_no = rng.random() < yes_no
        skill = rng.choice(MME_CATEGORIES if is_yes_no else OPEN_SKILLS)
        is_usual = rng.random() < USUAL_SHARE
        ask = None
        while ask is None:
            world = next(pools[kind_of(skill, rng)])
            if is_yes_no:
                ask = _yes_no_question(world, skill, rng, is_usual=is_usual)
            else:
                ask = open_question(world, skill, rng)
        yield world, ask


def _yes_no_question(
    world: World, category: str, rng: random.Random, *, is_usual: bool
) -> Ask | None:
    """The category's usual question, or another one; None where the pair has none."""
    pair = yes_no_pair(world, category, rng) or ()
    found = [ask for ask in pair if (USUAL[category] in ask.question) == is_usual]
    return rng.choice(found) if found else None


def kind_of(skill: str, rng: random.Random) -> Kind:
    """Which kind of world carries a skill."""
    if skill == "existence":
        return rng.choice(KINDS)
    if skill == "word":
        return "sign"
    return "digit" if skill == "digit" else "shapes"


def corpus() -> list[str]:
    """The text that scenes are asked and answered in, for training a tokenizer."""
    rng = random.Random(0)
    lines: list[str] = []
    for _, ask in islice(questions("train", rng, yes_no=0.4), 1500):
        lines += [ask.prompt, ask.answer, f" {ask.answer}", f"{ask.answer}.", *ask.wordy]
    return lines
