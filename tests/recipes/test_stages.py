"""Kinds of stages: a key that has no effect is refused at its line, with the reason and where it
belongs; recipes that runs of earlier versions keep can still be read.
"""

import json
from pathlib import Path

import pytest
import yaml

from recipes.running.run_folder import open_run
from recipes.schema.recipe import Recipe, load_recipe, resolved
from recipes.schema.sample_stage import SampleStage
from recipes.schema.train_stage import TrainStage
from rl.errors import ConfigError
from rl.learners.updates import Updates

STAGES = """model: {path: m}
stages:
  - name: sft
    algorithm: sft
    data: [{path: x.jsonl}]
  - name: pairs
    sample: {rewards: [exact]}
    data: [{path: x.jsonl}]
  - name: dpo
    algorithm: {name: dpo}
    data: [{stage: pairs}]
  - name: grpo
    algorithm: {name: grpo}
    data: [{path: x.jsonl}]
    rewards: [exact]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("x.jsonl").write_text("{}\n")
    Path("r.yaml").write_text(STAGES)
    return Path("r.yaml")


def faults(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_recipe(file)
    return str(error.value).splitlines()


def test_each_kind_is_a_class_of_its_own(file: Path) -> None:
    sft, pairs, dpo, grpo = load_recipe(file).stages
    assert [type(stage) for stage in (sft, pairs, dpo, grpo)] == [
        *(TrainStage, SampleStage, TrainStage, TrainStage)
    ]
    assert not hasattr(pairs, "lr")
    assert not hasattr(sft, "sample")


@pytest.mark.parametrize(
    ("after", "line", "said"),
    [
        (
            "algorithm: sft",
            "rewards: [exact]",
            "sft.rewards: has no effect: sft samples no",
        ),
        ("algorithm: sft", "temperature: 1.0", "`sample.temperature` of a sample stage"),
        ("algorithm: sft", "max_new_tokens: 8", "sft.max_new_tokens: has no effect: sft samples"),
        ("algorithm: sft", "keep_rollouts_every: 5", "answers while it trains. Remove it"),
        ("algorithm: sft", "heldout: pairs", "sft has no implicit reward to measure on pairs"),
        ("algorithm: sft", "n: 8", "or move it to `sample` of a sample stage"),
        ("algorithm: sft", "updates: {passes: 2}", "lower `prompts_per_step` for more updates"),
        ("algorithm: {name: dpo}", "updates: {minibatches: 1}", "dpo.updates: has no effect: dpo"),
        ("algorithm: sft", "dft: true", "unknown key. Write it as stages.sft.algorithm.dft"),
        ("algorithm: sft", "sample: {rewards: [exact]}", "give `algorithm` (a training stage) or"),
        ("algorithm: sft", "steps: 3\n    epochs: 1", "give `steps` or `epochs`, not both"),
        ("algorithm: sft", "schedule: constant\n    min_lr_ratio: 0.1", "`schedule: constant`"),
        ("algorithm: {name: dpo}", "rewards: [exact]", "dpo.rewards: has no effect: dpo samples"),
        ("algorithm: {name: grpo}", "heldout: pairs", "grpo has no implicit reward"),
        ("sample: {rewards: [exact]}", "lr: 1e-4", "no effect in a sample stage, which trains no"),
        ("sample: {rewards: [exact]}", "steps: 4", "Remove it, or move it to a training stage"),
        ("sample: {rewards: [exact]}", "evaluate: true", "pairs.evaluate: has no effect in a sam"),
        ("sample: {rewards: [exact]}", "num_heldout: 4", "Write it as stages.pairs.sample.num_hel"),
        ("sample: {rewards: [exact]}", "heldout: dpo", "no effect in a sample stage, which trains"),
        ("sample: {rewards: [exact]}", "prompts_per_stp: 4", "Did you mean prompts_per_step?"),
    ],
)
def test_a_key_without_effect_is_refused_at_its_line(
    file: Path, after: str, line: str, said: str
) -> None:
    at = STAGES[: STAGES.index(after)].count("\n") + 1
    (fault,) = faults(file, STAGES.replace(after, f"{after}\n    {line}"))
    assert said in fault
    if "epochs" not in line:  # which is a fault of two keys, told of the stage
        assert fault.startswith(f"r.yaml:{at + 1 + line.count(chr(10))} stages.")


def test_more_mini_batches_than_prompts_are_refused(file: Path) -> None:
    more = "algorithm: {name: grpo}\n    prompts_per_step: 4\n    updates: {minibatches: 5}"
    (fault,) = faults(file, STAGES.replace("algorithm: {name: grpo}", more))
    assert "`updates.minibatches` (5) is more than `prompts_per_step` (4)" in fault


def test_updates_are_set_from_the_command_line(file: Path) -> None:
    recipe = load_recipe(file, ["stages.grpo.updates.passes=3"])
    assert recipe.stages[3].updates == Updates(passes=3)  # type: ignore[union-attr]
    assert "updates" not in yaml.safe_load(resolved(recipe))["stages"][0]


def test_the_former_name_of_num_heldout_is_answered_with_the_new_one(file: Path) -> None:
    (fault,) = faults(file, STAGES.replace("rewards: [exact]}", "rewards: [exact], heldout: 4}"))
    assert "stages.pairs.sample.heldout: unknown key. Write num_heldout, a number" in fault


def test_a_key_inside_the_wrong_mapping(file: Path) -> None:
    (fault,) = faults(file, STAGES.replace("{name: grpo}", "{name: grpo, lr: 1e-6}"))
    assert fault == "r.yaml:13 stages.grpo.algorithm.lr: unknown key. Write it as stages.grpo.lr"


def test_a_stage_of_no_kind(file: Path) -> None:
    (fault,) = faults(file, STAGES.replace("    algorithm: sft\n", ""))
    assert fault.startswith("r.yaml:3 stages.sft.algorithm: give `algorithm` (a training stage) or")
    (fault,) = faults(file, "model: {path: m}\nstages: [sft]\n")
    assert fault == 'r.yaml:2 stages.0: got "sft"; expected a mapping'


def test_faults_of_both_kinds_come_at_once_and_names_are_listed_once(file: Path) -> None:
    text = STAGES.replace("algorithm: sft", "algorithm: sft\n    lrr: 1\n    xyz: 1\n    lr: fast")
    text = text.replace("sample: {", "steps: 1\n    sample: {n: x, ").replace("m}", "m, pth: 1}")
    found = faults(file, text)
    assert len(found) == 6, found
    assert sum("keep_rollouts_every, " in line for line in found) == 1
    assert "r.yaml:5 stages.sft.lrr: unknown key. Did you mean lr? (name, from," in found[2]
    assert found[3] == "r.yaml:6 stages.sft.xyz: unknown key (see the names above)"


def test_a_resolved_recipe_lists_no_key_without_effect_and_reads_back_equal(file: Path) -> None:
    recipe = load_recipe(file)
    text = resolved(recipe)
    sft, pairs, dpo, grpo = yaml.safe_load(text)["stages"]
    assert pairs.keys() == {"name", "from", "sample", "data", "prompts_per_step"}
    assert not sft.keys() & {"rewards", "keep_rollouts_every", "heldout", "temperature"}
    assert "min_lr_ratio" in dpo
    assert "keep_rollouts_every" in grpo
    Path("again.yaml").write_text(text)
    assert load_recipe(Path("again.yaml")) == recipe


IDLE = {
    "sft": {"rewards": [], "keep_rollouts_every": 10},
    "pairs": {
        "rewards": [],
        "schedule": "cosine",
        "warmup_ratio": 0.05,
        "min_lr_ratio": 0.0,
        "weight_decay": 0.0,
        "betas": [0.9, 0.999],
        "max_grad_norm": 1.0,
        "evaluate": True,
        "save_every": 100,
        "keep_last": 2,
        "keep_best": False,
        "keep_rollouts_every": 10,
        "log_every": 1,
    },
    "dpo": {"rewards": [], "keep_rollouts_every": 10},
    "grpo": {},
}


@pytest.fixture
def old_run(file: Path) -> tuple[Recipe, Path]:
    """A run's folder as an earlier version left it: every default in every stage, vLLM's keys
    beside those of all engines, and `heldout` for `num_heldout`."""
    recipe, run = load_recipe(file), Path("runs/run")
    written = yaml.safe_load(resolved(recipe))
    written["stages"] = [{**stage, **IDLE[stage["name"]]} for stage in written["stages"]]
    sample = written["stages"][1]["sample"]
    sample["heldout"] = sample.pop("num_heldout")
    engine = written["rollout"].pop("engine")
    assert (engine.pop("name"), engine.pop("core")) == ("vllm", "in_process")
    written["rollout"] |= {"engine": "in_process", **engine}
    run.mkdir(parents=True)
    (run / "env.json").write_text(json.dumps({}))
    (run / "config.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    return recipe, run


def test_a_run_of_an_earlier_version_is_resumed(old_run: tuple[Recipe, Path]) -> None:
    recipe, run = old_run
    open_run(recipe, run, resume=True, fresh=False)
    changed = load_recipe(Path("r.yaml"), ["stages.sft.lr=1e-3"])
    with pytest.raises(ConfigError, match=r"stages\.sft\.lr: None -> 0\.001; |lr: None -> 0\.001"):
        open_run(changed, run, resume=True, fresh=False)


def test_the_recipe_of_an_earlier_run_runs_again(old_run: tuple[Recipe, Path]) -> None:
    recipe, run = old_run
    assert load_recipe(run / "config.yaml") == recipe
    with pytest.raises(ConfigError, match=r"override stages\.pairs\.log_every=3: has no effect"):
        load_recipe(run / "config.yaml", ["stages.pairs.log_every=3"])
    with pytest.raises(ConfigError, match=r"write rollout\.engine\.core: own_process"):
        load_recipe(run / "config.yaml", ["rollout.engine=async"])
    with pytest.raises(ConfigError, match=r"sample\.heldout=3: unknown key\. Write num_heldout"):
        load_recipe(run / "config.yaml", ["stages.pairs.sample.heldout=3"])
    again = load_recipe(run / "config.yaml", ["stages.pairs.sample.num_heldout=3"])
    assert again.stages[1].sample.num_heldout == 3  # type: ignore[union-attr]
    again = load_recipe(run / "config.yaml", ["rollout.engine.block_size=64"])
    assert again.rollout.engine.block_size == 64


def test_the_report_reads_the_recipe_of_an_earlier_run(old_run: tuple[Recipe, Path]) -> None:
    from evals.report.run import read_run

    _, run = old_run
    (run / "stages").mkdir()
    found = read_run(run)
    assert not found.problems
    assert [stage["name"] for stage in found.config["stages"]] == ["sft", "pairs", "dpo", "grpo"]
