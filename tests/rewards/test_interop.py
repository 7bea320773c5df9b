"""TRL-style reward functions run unchanged, and are called as TRL 1.16 itself calls them."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image as Pillow

from rewards import RewardConfig, RewardWorker, Rubric, check_on_two_rows
from rewards.interop import TrainerState, arguments
from rl.core import Completion, Image, ImageSource, Message, Progress, Rollout, Sample, Text
from rl.data.rows import to_record
from rl.data.sources import Row
from rl.errors import ConfigError, RewardError

_MINE = """
def length(prompts, completions, **kwargs):
    return [float(len(completion)) for completion in completions]

def spoken(completions, **kwargs):
    return [float(len(turns[0]["content"])) for turns in completions]

def right(completions, solution, **kwargs):
    return [turns[0]["content"] == s for turns, s in zip(completions, solution)]

def only_counts(completions, skill, **kwargs):
    return [1.0 if s == "count" else None for s in skill]

def nothing(completions, **kwargs): return [float("nan")]
def tokens(completion_ids, log_metric, **kwargs):
    log_metric("n", 1.0)
    return [len(ids) for ids in completion_ids]
def strict(prompts, completions, limit=2): return [float(len(completions[0]) > limit)]
def two(completions, **kwargs): return [0.0, 1.0]
def endless(completions, **kwargs): return [float("inf")]
def scalar(completions, **kwargs): return 1.0
def curriculum(completions, trainer_state, **kwargs):
    share = trainer_state.global_step / max(trainer_state.max_steps, 1)
    return [share + trainer_state.epoch + 10 * trainer_state.num_train_epochs]
def in_keywords(completions, **kwargs): return [kwargs["trainer_state"].global_step]
async def later(completions, **kwargs): return [0.5]
"""


def record(**row: Any) -> Sample:
    made = to_record(Row("rows.jsonl", 1, 0, row), "group")
    assert isinstance(made, Sample)
    return made


TEXT = record(prompt="How many?", solution="two", skill="count")
TURNS = record(messages=[{"role": "user", "content": "How many?"}], solution="two", skill="color")


def answer(text: str) -> Completion:
    return Completion((5, 6, 7), (0.0,) * 3, text, "stop")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(_MINE)
    return tmp_path


def score(mine: Path, name: str, sample: Sample, text: str = "two", **params: Any) -> float | None:
    config = RewardConfig(name=f"./mine.py:{name}", params=params)
    return Rubric([config], mine).score(sample, answer(text)).value


@pytest.mark.parametrize(
    ("name", "sample", "value"),
    [
        ("length", TEXT, 3.0),
        ("length", TURNS, 1.0),  # one message
        ("spoken", TURNS, 3.0),
        ("right", TURNS, 1.0),
        ("only_counts", TEXT, 1.0),
        ("only_counts", TURNS, None),
        ("nothing", TURNS, None),
        ("tokens", TURNS, 3.0),
        ("strict", TEXT, 1.0),
        ("later", TEXT, 0.5),
    ],
)
def test_a_trl_function_runs_unchanged(
    mine: Path, name: str, sample: Sample, value: float | None
) -> None:
    assert score(mine, name, sample) == value


def test_a_parameter_that_is_no_column_may_be_set(mine: Path) -> None:
    assert score(mine, "strict", TEXT, limit=3) == 0.0
    with pytest.raises(ConfigError, match="Did you mean limit"):
        score(mine, "strict", TEXT, limt=3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two", "returned 2 rewards for 1 completion"),
        ("endless", "expected a finite number"),
        ("scalar", "TypeError"),
    ],
)
def test_what_is_no_list_of_rewards_is_an_error(mine: Path, name: str, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        score(mine, name, TEXT)


def test_a_column_that_the_data_lacks_is_named_before_the_run(mine: Path) -> None:
    rubric = Rubric([RewardConfig(name="./mine.py:only_counts")], mine)
    with pytest.raises(ConfigError, match="argument 'skill' of reward 'only_counts'"):
        rubric.check([record(prompt="How many?", solution="two")])
    assert len(check_on_two_rows(rubric, [TEXT, TURNS])) == 4


def test_it_runs_in_a_reward_worker(mine: Path) -> None:
    worker = RewardWorker([RewardConfig(name="./mine.py:length")], base=mine)
    try:
        [scores] = worker.score([Rollout(TEXT, (1,), (answer("a"), answer("bb")))])
    finally:
        worker.close()
    assert [s.value for s in scores] == [1.0, 2.0]


def test_images_stand_in_the_prompt_and_in_their_column() -> None:
    data = io.BytesIO()
    Pillow.new("RGB", (8, 6), "red").save(data, "PNG")
    source = ImageSource(data=data.getvalue())
    messages = (Message("user", (Image(0), Text("Which colour?"))),)
    given = arguments(
        Sample("a", messages, (source,), has_text_prompt=True), "red", (1,), TrainerState()
    )
    [[turn]] = given["prompts"]
    assert [block["type"] for block in turn["content"]] == ["image", "text"]
    assert given["images"][0][0].size == (8, 6)
    assert given["completions"] == [[{"role": "assistant", "content": "red"}]]


@pytest.mark.parametrize("sample", [TEXT, TURNS], ids=["text", "turns"])
def test_the_call_is_trls_own(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: what TRL 1.16 hands to a function for the same row and completion."""
    from torch import device
    from trl.trainer import grpo_trainer

    seen: list[dict[str, Any]] = []

    def keep(**given: Any) -> list[float]:
        seen.append(given)
        return [1.0]

    ours = arguments(sample, "two", (5, 6, 7), TrainerState())
    row = {"prompt": ours["prompts"][0], **sample.meta}
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device=device("cpu"), is_main_process=False),
        args=SimpleNamespace(report_to=[]),
        reward_funcs=[keep],
        reward_processing_classes=[None],
        reward_func_names=["keep"],
        state=SimpleNamespace(global_step=0),
        environments=None,
        _log_completion_extra=None,
        _log_metric=None,
    )
    monkeypatch.setattr(grpo_trainer, "gather", lambda rewards: rewards)
    calculate = grpo_trainer.GRPOTrainer._calculate_rewards
    getattr(calculate, "__wrapped__", calculate)(
        trainer, [row], ours["prompts"], ours["completions"], ours["completion_ids"]
    )
    [theirs] = seen
    assert set(theirs) == set(ours) - {"answer"}
    for name in set(theirs) - {"trainer_state", "log_extra", "log_metric"}:
        assert theirs[name] == ours[name]


def test_the_state_is_that_of_the_step(mine: Path) -> None:
    """The steps done before this one, as TRL counts them; 0 where nothing trains."""
    names = ("curriculum", "in_keywords")
    rubric = Rubric([RewardConfig(name=f"./mine.py:{name}") for name in names], mine)
    for progress, wanted in (
        (Progress(0, 8, 0.0), {"curriculum": 10.0, "in_keywords": 0.0}),
        (Progress(4, 8, 1.25), {"curriculum": 0.5 + 1.25 + 30, "in_keywords": 4.0}),
        (None, {"curriculum": 0.0, "in_keywords": 0.0}),
    ):
        judged = Completion((5,), (0.0,), "two", "stop", progress=progress)
        assert rubric.score(TURNS, judged).components == wanted


def test_the_state_has_the_names_of_transformers_own() -> None:
    from dataclasses import fields

    from transformers import TrainerState as Theirs

    assert {f.name for f in fields(TrainerState)} <= {f.name for f in fields(Theirs)}
