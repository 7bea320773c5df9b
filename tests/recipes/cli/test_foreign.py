"""Words of other tools on the command line are answered with ours."""

import re
import sys
from pathlib import Path

import pytest
import typer.main

from recipes.cli import main as cli
from recipes.schema.foreign import COMMANDS, KEYS, advice_for_command, advice_for_key
from recipes.schema.recipe import load_recipe
from rl.errors import ConfigError

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
        (["sft", "--learning_rate", "1"], r"unknown option --learning_rate\. Write --lr"),
        (["grpo", "--num-generations=4"], r"unknown option --num-generations.*group_size"),
        (["dpo", "--beta", "0.1"], r"--beta\. Write --set stages\.dpo\.algorithm\.beta=\.\.\."),
        (["grpo", "--beta", "0.1"], r"--beta\. .*GRPO's is algorithm\.kl_coef"),
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


def test_a_dotted_key_of_verl_is_found():
    key = "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"
    assert "tokens_per_microbatch" in advice_for_key(key)
    assert "model, rollout and learner" in advice_for_key("actor_rollout_ref.ref.strategy")
    assert advice_for_key("clip_hgih") == ""


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.sft.lora_rank=8", r"unknown key\. No adapters \(LoRA\) yet"),
        ("stages.sft.learning_rate=1", r"unknown key\. Write --lr, or stages\.NAME\.lr"),
        ("stages.sft.per_device_train_batch_size=1", r"unknown key\. .*prompts_per_step"),
        ("actor_rollout_ref.rollout.n=8", r"unknown key\. .*rollout and learner"),
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
