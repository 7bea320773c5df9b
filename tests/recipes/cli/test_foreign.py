"""Words of other tools on the command line are answered with ours."""

import re
import sys
from pathlib import Path

import pytest
import typer.main

from recipes.cli import main as cli
from recipes.schema.foreign import (
    COMMANDS,
    KEYS,
    CommandLine,
    advice_for_command,
    advice_for_key,
)
from recipes.schema.recipe import Recipe, load_recipe
from recipes.schema.train_stage import TrainStage
from rl.errors import ConfigError
from rl.plugins import find, names
from rollouts.engines.vllm_settings import Vllm

ROOT = Path(__file__).parents[3]
OURS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def refused(capsys, monkeypatch, *words):
    """The one line that a wrong command line gives, with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["plumbline", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert not shown.out
    [line] = shown.err.strip().splitlines()
    assert line.startswith("plumbline: ")
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deploy", "model"], r'unknown command "deploy"\. For now `vllm serve CHECKPOINT`'),
        (["train", "recipe.yaml"], r'unknown command "train"\. Write `plumbline run RECIPE`'),
        (["merge_lora"], r'unknown command "merge_lora"\. Nothing to merge'),
        (["rnu"], r'unknown command "rnu"\. Did you mean run\? `plumbline --help`'),
        (["sft", "--lora_rank", "8"], r"sft: unknown option --lora_rank\. No adapters"),
        (["sft", "--learning_rate", "1"], r"unknown option --learning_rate\. Write --lr \(see"),
        (["run", "r.yaml", "--learning_rate=1"], r"_rate\. Write stages\.NAME\.lr=\.\.\. \(see"),
        (["grpo", "--num-generations=4"], r"--set stages\.grpo\.algorithm\.group_size=8 \(see"),
        (["sft", "--warmup_steps=9"], r"Write --set stages\.sft\.warmup_ratio=0\.05, a share of"),
        (["sft", "--reward", "exact"], r"--reward\. Has no effect: sft samples no answers while"),
        (["dpo", "--temperature", "1"], r"temperature\. Has no effect: dpo samples no answers"),
        (["sft", "--attn_impl", "sdpa"], r"--attn_impl\. Not needed: the model's family decides"),
        (["dpo", "--freeze_vit", "true"], r"Write --set 'model\.freeze=\[vision\]' \(see"),
        (
            ["dpo", "--label_smoothing", "0.1"],
            r"Write --set stages\.dpo\.algorithm\.label_smoothing",
        ),
        (["sft", "--label_smoothing", "0.1"], r"--label_smoothing\. Dpo alone has it"),
        (["sft", "--push_to_hub", "true"], r"a plain Hugging Face folder, which `hf upload` sends"),
        (["sft", "--gradient_accumulation_steps=4"], r"--set stages\.sft\.prompts_per_step=\.\.\."),
        (["dpo", "--beta", "0.1"], r"--beta\. Write --set stages\.dpo\.algorithm\.beta=\.\.\."),
        (
            ["grpo", "--beta", "0.1"],
            r"--beta\. .*for GRPO write --set stages\.grpo\.algorithm\.kl_coef",
        ),
        (["grpo", "--temperature=1"], r"temperature\. Write --set stages\.grpo\.temperature="),
        (["sft", "--seed", "1"], r"--seed\. Write --set run\.seed="),
        (["run", "r.yaml", "--seed", "1"], r"--seed\. Write run\.seed=\.\.\., no dashes"),
        (["sft", "--stepz", "3"], r"sft: unknown option --stepz\. Did you mean --steps\? `plumbl"),
        (["sft", "--model", "m"], r"sft: missing option '--data'"),
        (["score"], r"score: missing argument"),
        (["tiny", "out", "--seed", "two"], r"tiny: invalid value for '--seed'"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_the_right_word(words, said, capsys, monkeypatch):
    line = refused(capsys, monkeypatch, *words)
    assert re.search(said, line), line


def test_no_word_of_another_tool_is_a_word_of_ours():
    assert not set(OURS) & set(COMMANDS)
    options = {
        name.lstrip("-").replace("-", "_")
        for command in OURS.values()
        for parameter in command.params
        for name in parameter.opts
    }
    assert not options & set(KEYS)


@pytest.mark.parametrize("word", [*COMMANDS])
def test_the_advice_names_commands_that_exist(word):
    named = re.findall(r"`plumbline (\w+)", advice_for_command(word))
    assert set(named) <= set(OURS)


def keys_of(cls):
    return set(getattr(cls, "model_fields", ()))


def test_the_advice_names_keys_that_exist():
    ours = {
        f"{section}.{key}"
        for section in Recipe.model_fields
        for key in keys_of(Recipe.model_fields[section].annotation)
    }
    ours |= {f"rollout.engine.{key}" for key in keys_of(Vllm)}
    ours |= {f"stages.NAME.{key}" for key in keys_of(TrainStage)}
    ours |= {f"stages.NAME.updates.{key}" for key in ("minibatches", "passes")}
    algorithms = [find("rl.algorithms", name) for name in names("rl.algorithms")]
    ours |= {f"stages.NAME.algorithm.{key}" for cls in algorithms for key in keys_of(cls)}
    for word in KEYS:
        said = advice_for_key(word, CommandLine(options=("--set",)))
        named = re.findall(r"--set '?([\w.]+)=", said)
        assert set(named) <= ours, word
        assert not re.search("[<>]", said), said


def test_a_dotted_key_of_verl_is_found():
    key = "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"
    assert "tokens_per_microbatch" in advice_for_key(key)
    assert "model, rollout and learner" in advice_for_key("actor_rollout_ref.ref.strategy")
    assert advice_for_key("clip_hgih") == ""


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.sft.lora_rank=8", r"unknown key\. No adapters \(LoRA\) yet"),
        ("stages.sft.learning_rate=1", r"unknown key\. Write stages\.NAME\.lr \(see"),
        ("stages.sft.per_device_train_batch_size=1", r"unknown key\. .*prompts_per_step"),
        ("actor_rollout_ref.rollout.n=8", r"unknown key\. .*rollout and learner"),
        ("stages.sft.seed=3", r"unknown key\. Write it as run\.seed"),
        ("stages.sft.attn_implementation=sdpa", r"unknown key\. Not needed: the model's family"),
        ("trainer.total_epochs=3", r"unknown key\. Write run, learner and rollout"),
        ("stages.sft.lrr=1", r"unknown key\. Did you mean lr\?"),
    ],
)
def test_a_key_of_another_tool_in_a_recipe_gets_ours(override, said):
    with pytest.raises(ConfigError) as refused:
        load_recipe(ROOT / "recipes" / "configs" / "sft.yaml", [override])
    assert re.search(said, str(refused.value)), refused.value


def test_everything_listed_has_a_sentence(capsys):
    cli.app(["list"], standalone_mode=False)
    shown = capsys.readouterr().out.splitlines()
    assert "families:" in shown
    rows = [line.split(maxsplit=1) for line in shown if line.startswith("  ")]
    assert all(len(row) == 2 and row[1].endswith(".") for row in rows), rows
