"""Files for other tools."""

import json
import re

import pytest
import yaml

from evals.report.formats import write_format
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


def test_a_hub_id_is_named_only_where_the_questions_came_from_there(make_run):
    run = make_run(settings={"sft": {"data_path": "lmms-lab/MME"}})
    text = {path.stem: path.read_text() for path in write_format(run, "hf")}
    assert "type: lmms-lab/MME" in text["sft"]
    assert "split: test" in text["sft"]
    assert "lmms-lab" not in text["grpo"]


def test_every_required_key_of_the_hubs_specification_is_there(make_run):
    run = make_run(settings={"sft": {"data_path": "lmms-lab/MME"}})
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
        *("mme_cognition_score,none", "mme_cognition_score_stderr,none"),
    }
    assert told["configs"]["textvqa_val"]["metadata"]["profile"] == "lmms_eval"
    assert told["n-samples"]["mme"] == {"original": 48, "effective": 24}
    assert 0 < told["results"]["textvqa_val"]["exact_match,none"] < 1


def test_another_format_is_refused(make_run):
    with pytest.raises(ConfigError, match="hf \\| lmms-eval"):
        write_format(make_run(), "xml")
