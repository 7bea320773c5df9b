"""Rewards pick their arguments by name; the rubric weighs them and keeps each component."""

import doctest
import inspect
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import RewardConfig, Rubric
from rewards.base import SUPPLIED
from rl.config import build, dump
from rl.config_yaml import parse_yaml
from rl.core import Completion, Message, Rollout, Sample, Text
from rl.errors import ConfigError, RewardError
from rl.plugins import find, names

_MINE = """
def give(text, value): return value
def boom(text): raise KeyError("x")
def needs(text, skill, level=1): return float(len(skill) * level)
def everything(completion, token_ids, finish_reason, prompt, sample, images, uid, messages, meta,
               solution, references, is_truncated): return 1.0
"""


def sample(*references: str, uid: str = "s-1", **meta: object) -> Sample:
    return Sample(uid, (Message("user", (Text("What?"),)),), (), references, meta)


def answer(text: str, finish_reason: str = "stop") -> Completion:
    ids = tuple(range(len(text.split()) + 1))
    return Completion(ids, (0.0,) * len(ids), text, finish_reason)  # type: ignore[arg-type]


def rubric(*configs: dict, base: Path | None = None) -> Rubric:
    return Rubric([RewardConfig(**config) for config in configs], base)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(_MINE)
    return tmp_path


@pytest.mark.parametrize(
    ("config", "text", "references", "value", "status"),
    [
        ({"name": "exact"}, " red ", ["red"], 1.0, "ok"),
        ({"name": "exact"}, "Red", ["red"], 0.0, "ok"),
        ({"name": "exact", "ignore_case": True}, "Red", ["red"], 1.0, "ok"),
        ({"name": "choice"}, "The answer is (B).", ["B"], 1.0, "ok"),
        ({"name": "choice"}, "perhaps", ["B"], 0.0, "unparsed"),
        ({"name": "contains"}, "It is Red.", ["red"], 1.0, "ok"),
        ({"name": "contains"}, "a tired man", ["red"], 0.0, "ok"),
        ({"name": "numeric"}, "so 1,000", ["1000"], 1.0, "ok"),
        ({"name": "numeric", "tolerance": 0.05}, "1.05", ["1"], 1.0, "ok"),
        ({"name": "numeric", "tolerance": 0.05}, "1.06", ["1"], 0.0, "ok"),
        ({"name": "numeric"}, "many", ["3"], 0.0, "unparsed"),
        ({"name": "vqa_accuracy"}, "the Cat", ["cat"], 1.0, "ok"),
        ({"name": "vqa_accuracy"}, "cat", ["cat"] * 3 + ["dog"] * 7, 0.9, "ok"),
        ({"name": "anls"}, "abcd", ["abxx", "q"], 0.5, "ok"),
        ({"name": "anls"}, "abc", ["axx"], 0.0, "ok"),
        ({"name": "relaxed_accuracy"}, " 14.7", ["x", "14"], 1.0, "ok"),
        ({"name": "relaxed_accuracy"}, "15", ["14"], 0.0, "ok"),
        ({"name": "ocr_contains"}, "It says STOP.", ["stop"], 1.0, "ok"),
        ({"name": "ocr_contains"}, "sto p", ["stop"], 0.0, "ok"),
        ({"name": "yes_no"}, "Yes, it is", ["yes"], 1.0, "ok"),
        ({"name": "yes_no"}, "maybe", ["yes"], 0.0, "unparsed"),
        ({"name": "yes_no"}, "maybe", ["red"], None, "unscored"),
        ({"name": "format", "pattern": r"\w+"}, "red", ["x"], 1.0, "ok"),
        ({"name": "format", "pattern": r"\w+"}, "it is red", ["x"], 0.0, "ok"),
        ({"name": "length", "max_tokens": 3, "buffer": 2}, "", ["x"], 0.0, "ok"),
        ({"name": "length", "max_tokens": 3, "buffer": 2}, "a", ["x"], -0.5, "ok"),
        ({"name": "length", "max_tokens": 3, "buffer": 2}, "a b c d", ["x"], -1.0, "ok"),
    ],
)
def test_built_in_rewards(config, text, references, value, status):
    score = rubric(config).score(sample(*references), answer(text))
    assert score.value == (None if value is None else pytest.approx(value))
    assert score.status == status


@pytest.mark.parametrize("name", names("rewards"))
def test_every_reward_has_cases(name):
    """Above, or as examples in its docstring, which are run here."""
    function = find("rewards", name)
    runner = doctest.DocTestRunner()
    for examples in doctest.DocTestFinder().find(function, globs=dict(function.__globals__)):
        runner.run(examples)
    (mark,) = test_built_in_rewards.pytestmark  # type: ignore[attr-defined]
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries or name in {case[0]["name"] for case in mark.args[1]}


REQUIRED = {str: r"\w+", int: 3, float: 0.5, bool: True}  # by annotation


@pytest.mark.parametrize("name", names("rewards"))
@settings(max_examples=30, deadline=None)
@given(text=st.text(), right=st.sampled_from(["red", "B", "7", "Yes"]))
def test_every_reward_keeps_the_contract(name, text, right):
    """A finite number or none, the same twice, for the right answer and for any text."""
    function = find("rewards", name)
    asked = sample("B" if name == "choice" else "7" if name == "numeric" else right)
    free = inspect.signature(function).parameters.values()
    params = {
        p.name: REQUIRED[p.annotation]
        for p in free
        if p.default is p.empty and p.name not in SUPPLIED and p.name != "solution"
    }
    judge = rubric({"name": name, **params})
    for said in (asked.references[0], text):
        score = judge.score(asked, answer(said))
        assert score.value is None or math.isfinite(score.value)
        assert judge.score(asked, answer(said)) == score


def test_weighted_sum_keeps_components_and_leaves_none_outside(mine):
    score = rubric(
        {"name": "exact", "weight": 2.0},
        {"name": "yes_no"},
        {"name": "./mine.py:give", "value": 0.25},
        base=mine,
    ).score(sample("red"), answer("red"))
    assert score.value == 2.25
    assert score.components == {"exact": 1.0, "yes_no": None, "give": 0.25}


def test_all_none_is_unscored():
    score = rubric({"name": "yes_no"}).score(sample("red"), answer("yes"))
    assert (score.value, score.status) == (None, "unscored")


def test_same_reward_twice_gets_two_labels():
    both = rubric({"name": "format", "pattern": "a"}, {"name": "format", "pattern": "b"})
    assert both.labels == ("format", "format_2")


def test_truncated_answer_keeps_its_value():
    score = rubric({"name": "exact"}).score(sample("red"), answer("red", "length"))
    assert (score.value, score.status) == (1.0, "truncated")


@pytest.mark.parametrize("value", ["1", True, float("nan"), float("inf"), [1.0], {}])
def test_rubbish_is_an_error_with_uid_and_reward(mine, value):
    broken = rubric({"name": "./mine.py:give"}, base=mine)
    with pytest.raises(RewardError, match=r"reward give, sample s-9"):
        broken.score(sample("x", uid="s-9", value=value), answer("y"))


def test_a_raising_reward_names_uid_and_cause(mine):
    with pytest.raises(RewardError, match=r"reward boom, sample s-1: raised KeyError: 'x'"):
        rubric({"name": "./mine.py:boom"}, base=mine).score(sample("x"), answer("y"))


def test_arguments_come_from_the_samples_own_columns(mine):
    needs = rubric({"name": "./mine.py:needs", "level": 3}, base=mine)
    assert needs.score(sample("x", skill="count"), answer("y")).value == 15.0
    with pytest.raises(ConfigError, match="argument 'skill' of reward 'needs'"):
        needs.check([sample("x")])


def test_every_supplied_argument(mine):
    everything = rubric({"name": "./mine.py:everything"}, base=mine)
    everything.check([sample("x")])
    assert everything.score_rollout(Rollout(sample("x"), (), (answer("y"),) * 2))[1].value == 1.0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "exct"}, "Did you mean exact"),
        ({"name": "numeric", "tolernce": 0.1}, "Did you mean tolerance"),
        ({"name": "numeric", "tolerance": "much"}, "tolerance = 'much'"),
        ({"name": "numeric", "text": "x"}, "unknown parameter 'text'"),
        ({"name": "./gone.py:f"}, "gone.py"),
    ],
)
def test_config_mistakes_are_named(config, message):
    with pytest.raises(ConfigError, match=message):
        rubric(config)


def test_config_round_trip_through_yaml():
    written = RewardConfig(name="numeric", weight=0.5, tolerance=0.05)  # type: ignore[call-arg]
    assert written.params == {"tolerance": 0.05}
    line = "{name: numeric, tolerance: 0.05, weight: 0.5}"
    for text in (dump(written), line):
        read = build(RewardConfig, parse_yaml(text, "page.yaml"))
        assert read == written
        assert hash(read) == hash(written)
    with pytest.raises(ConfigError, match="weight"):
        build(RewardConfig, parse_yaml("{name: numeric, weight: heavy}", "page.yaml"))


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text(min_size=1))
def test_scores_are_in_range_and_repeatable(text, reference):
    every = rubric(*({"name": name} for name in ("exact", "contains", "vqa_accuracy", "yes_no")))
    asked = sample(reference)
    first = every.score(asked, answer(text))
    assert all(value is None or 0.0 <= value <= 1.0 for value in first.components.values())
    assert every.score(asked, answer(text)) == first
    assert asked == sample(reference)
