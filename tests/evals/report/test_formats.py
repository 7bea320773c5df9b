"""Files for other tools."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from evals.report.facts.rows import rows
from evals.report.formats import write_format
from evals.report.formats.model_card import model_index
from evals.report.run import read_run
from rl.errors import ConfigError


def test_a_model_card_gets_a_block_that_the_hub_reads(make_run):
    from huggingface_hub import ModelCard

    run = make_run()
    paths = {path.stem: path for path in write_format(run, "hf")}
    assert list(paths) == ["base", "sft", "dpo", "kto", "grpo"]
    card = ModelCard(paths["grpo"].read_text())
    found = {result.dataset_type: result for result in card.data.eval_results}
    assert set(found) == {"mme", "textvqa"}
    told = json.loads((run / "evals" / "grpo" / "mme" / "result.json").read_text())
    assert found["mme"].metric_value == told["parts"]["report"]["value"]
    block = yaml.safe_load(paths["grpo"].read_text().split("---")[1])
    metric = block["model-index"][0]["results"][0]["metrics"][0]
    assert metric["args"]["interval_95"] == told["parts"]["report"]["interval"]


SHA = "0123456789abcdef0123456789abcdef01234567"


def dataset_of(run: Path, stage: str) -> dict[str, Any]:
    """What the card says of the data of the stage's first benchmark."""
    text = {path.stem: path.read_text() for path in write_format(run, "hf")}[stage]
    [model] = yaml.safe_load(text.split("---")[1])["model-index"]
    return dict(model["results"][0]["dataset"])


def test_a_hub_id_is_named_only_where_the_questions_came_from_there(make_run):
    run = make_run(settings={"sft": {"data_path": f"lmms-lab/MME@{SHA}"}})
    told = dataset_of(run, "sft")
    assert (told["type"], told["split"], told["revision"]) == ("lmms-lab/MME", "test", SHA)
    assert "config" not in told
    other = dataset_of(run, "grpo")
    assert other["type"] == "mme"
    assert not other.keys() & {"config", "split", "revision"}


@pytest.mark.parametrize(
    "path",
    [
        "data/lmms-lab/MME/data/test.parquet",
        "lmms-lab/MME/data/test.parquet",
        f"lmms-lab/MME-cut@{SHA}",
        f"lmms-lab/MME@{SHA}, mine/more.parquet",
        f"lmms-lab/MME@{SHA}, lmms-lab-encoder/MME@{SHA}",
    ],
)
def test_a_path_that_resembles_a_hub_id_is_none(make_run, path):
    told = dataset_of(make_run(settings={"sft": {"data_path": path}}), "sft")
    assert told["type"] == "mme"
    assert "revision" not in told


def test_a_card_names_the_repository_and_configuration_exactly(make_run):
    """AI2D's two repositories begin alike; DocVQA's has a configuration, MMMU's thirty."""
    run = make_run(benchmarks=("mme",))
    row = rows(read_run(run))[0]
    for benchmark, path, wanted in (
        ("ai2d", f"lmms-lab/ai2d-no-mask@{SHA}", ("lmms-lab/ai2d-no-mask", None, "test", SHA)),
        ("ai2d", f"lmms-lab/ai2d@{SHA}", ("lmms-lab/ai2d", None, "test", SHA)),
        (
            "docvqa",
            f"lmms-lab/DocVQA@{SHA} DocVQA",
            ("lmms-lab/DocVQA", "DocVQA", "validation", SHA),
        ),
        (
            "mmmu",
            f"MMMU/MMMU@{SHA} Accounting, MMMU/MMMU@{SHA} Art",
            ("MMMU/MMMU", None, "validation", SHA),
        ),
    ):
        asked = replace(row, benchmark=benchmark, settings={"data_path": path})
        [found] = yaml.safe_load(model_index(read_run(run), read_run(run).scored[0], [asked]))[
            "model-index"
        ][0]["results"]
        told = found["dataset"]
        keys = ("type", "config", "split", "revision")
        assert tuple(told.get(key) for key in keys) == wanted


def test_every_required_key_of_the_hubs_specification_is_there(make_run):
    run = make_run(settings={"sft": {"data_path": f"lmms-lab/MME@{SHA}"}})
    for path in write_format(run, "hf"):
        (model,) = yaml.safe_load(path.read_text().split("---")[1])["model-index"]
        assert model["name"].startswith("quickstart-")
        for result in model["results"]:
            assert result["task"]["type"] == "image-text-to-text"
            assert result["dataset"]["type"]
            assert result["dataset"]["name"]
            assert {"type", "value"} <= set(result["metrics"][0])


def test_training_rows_in_the_benchmark_go_into_the_card(make_run):
    run = make_run(contamination={"checked": True, "overlap_images": 3})
    assert "3 overlapping images" in write_format(run, "hf")[-1].read_text()


def test_lmms_evals_layout(make_run):
    run = make_run()
    paths = write_format(run, "lmms-eval")
    assert [path.parent.name for path in paths] == ["base", "sft", "dpo", "kto", "grpo"]
    assert all(re.fullmatch(r"\d{8}_\d{6}_results\.json", path.name) for path in paths)
    told = json.loads(paths[-1].read_text())
    assert set(told) >= {
        *("results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better"),
        *("n-samples", "config", "git_hash", "date", "task_hashes", "model_source", "model_name"),
        *("model_name_sanitized", "chat_template_sha", "total_evaluation_time_seconds"),
    }
    assert told["date"] == paths[-1].name.removesuffix("_results.json")  # text, as that tool's
    assert set(told["config"]) >= {
        *("model", "model_args", "batch_size", "batch_sizes", "device", "use_cache", "limit"),
        *("bootstrap_iters", "gen_kwargs", "random_seed", "numpy_seed", "torch_seed"),
        "fewshot_seed",
    }
    assert told["model_name"] == "stages/grpo/checkpoints/step-000060"
    assert told["model_name_sanitized"] == "stages__grpo__checkpoints__step-000060"
    assert set(told["results"]) == set(told["configs"]) == {"mme", "textvqa_val"}
    assert set(told["results"]["mme"]) == {
        "alias",
        *("mme_perception_score,none", "mme_perception_score_stderr,none"),
    }
    assert told["configs"]["textvqa_val"]["metadata"]["profile"] == "lmms_eval"
    assert told["n-samples"]["mme"] == {"original": 48, "effective": 24}
    assert 0 < told["results"]["textvqa_val"]["exact_match,none"] < 1


def test_a_part_that_was_not_asked_is_left_out_of_lmms_evals_results(make_run):
    """As in lmms-eval: a metric that no question fed is not in its file, never 0.0."""
    run = make_run()  # its MME has categories of perception alone
    told = json.loads(write_format(run, "lmms-eval")[-1].read_text())
    names = {name for name in told["results"]["mme"] if "cognition" in name}
    listed = {metric["metric"] for metric in told["configs"]["mme"]["metric_list"]}
    assert (names, listed) == (set(), {"mme_perception_score"})
    assert set(told["higher_is_better"]["mme"]) == {"mme_perception_score"}
    for stage in ("base", "grpo"):
        path = run / "evals" / stage / "mme" / "responses.jsonl"
        answers = path.read_text().replace('"category": "color"', '"category": "code_reasoning"')
        path.write_text(answers)
    told = json.loads(write_format(run, "lmms-eval")[-1].read_text())
    assert told["results"]["mme"]["mme_cognition_score,none"] > 0


def test_a_half_that_was_not_asked_is_left_out(make_run):
    run = make_run(benchmarks=("textvqa",))
    for folder in run.glob("evals/*/textvqa"):
        told = json.loads((folder / "result.json").read_text())
        part = told["parts"]["report"]
        part["metrics"] = {"accuracy": part["accuracy"], "human": 0.5, "augmented": None}
        told |= {"benchmark": "chartqa", "profile": "lmms_eval"}
        (folder / "result.json").write_text(json.dumps(told))
        folder.rename(folder.with_name("chartqa"))
    told = json.loads(write_format(run, "lmms-eval")[-1].read_text())
    names = {name.partition(",")[0] for name in told["results"]["chartqa"]}
    assert "relaxed_human_split" in names
    assert "relaxed_augmented_split" not in names


def test_worked_examples_are_counted_in_lmms_evals_layout(make_run):
    run = make_run()
    answers = run / "evals/sft/mme/responses.jsonl"
    given = [json.loads(line) for line in answers.read_text().splitlines()]
    answers.write_text("".join(json.dumps({**row, "num_shots": 5}) + "\n" for row in given))
    told = {
        path.parent.name: json.loads(path.read_text()) for path in write_format(run, "lmms-eval")
    }
    assert told["sft"]["n-shot"] == {"mme": 5, "textvqa_val": 0}
    assert told["sft"]["configs"]["mme"]["num_fewshot"] == 5
    assert told["base"]["n-shot"] == {"mme": 0, "textvqa_val": 0}


def test_another_format_is_refused(make_run):
    with pytest.raises(ConfigError, match="hf \\| lmms-eval"):
        write_format(make_run(), "xml")
