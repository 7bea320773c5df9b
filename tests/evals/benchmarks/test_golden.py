"""Every row of the golden files, by the official programs and by lmms-eval and VLMEvalKit (source
in each file).
"""

import json

import pytest

from evals.registry import get_benchmark
from evals.scoring.score import score_file
from evals.scoring.stats import stderr, stderr_clustered
from rewards.text import evalai_answer
from tests.evals.conftest import FIXTURES

MME = json.loads((FIXTURES / "mme.json").read_text(encoding="utf-8"))
TEXTVQA = json.loads((FIXTURES / "textvqa.json").read_text(encoding="utf-8"))


def mme_row(number: int, row: dict) -> dict:
    return {
        "sample_id": str(number),
        "cluster_id": row["question_id"],
        "category": row["category"],
        "references": [row["answer"]],
        "response": row["prediction"],
    }


@pytest.mark.parametrize(
    ("profile", "column"),
    [
        ("official", "label"),
        ("lmms_eval", "label_lmms_eval"),
        ("vlmevalkit", "label_vlmevalkit"),
    ],
)
def test_mme_labels(profile, column):
    mme = get_benchmark("mme")
    for number, row in enumerate(MME["rows"]):
        given = mme_row(number, row)
        score = mme.score(given, profile)
        label = row[column].replace("unknown", "other")
        assert score.parsed == label, row
        assert score.score == float(label == row["answer"].lower())
        assert score.status == ("unparsed" if label == "other" else "ok")
        assert given == mme_row(number, row)


def test_textvqa_scores_and_processed_answers():
    textvqa = get_benchmark("textvqa")
    for number, row in enumerate(TEXTVQA["rows"]):
        given = {
            "sample_id": number,
            "references": row["references"],
            "response": row["prediction"],
        }
        score = textvqa.score(given)
        assert (score.score, score.parsed) == (row["score"], row["processed"]), row
        assert evalai_answer(row["prediction"]) == row["processed"]
        assert given["references"] == row["references"]
        assert textvqa.score(given, "lmms_eval").score == pytest.approx(row["score"])


def test_score_file_follows_the_contract(tmp_path):
    file = tmp_path / "responses.jsonl"
    lines = [json.dumps(mme_row(number, row)) for number, row in enumerate(MME["rows"])]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = score_file("mme", file)
    assert list(found) == ["benchmark", "profile", "version", "metrics", "items"]
    own = {"perception", "cognition", "total", "categories", "parse_rate"}
    assert set(found["metrics"]) == own | {"stderr", "stderr_clustered"}
    values = [item["score"] for item in found["items"]]
    images = [row["question_id"] for row in MME["rows"]]
    assert found["metrics"]["stderr"] == stderr(values) > 0
    clustered = [
        {**json.loads(line), "cluster_id": image} for line, image in zip(lines, images, strict=True)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in clustered), encoding="utf-8")
    again = score_file("mme", file)["metrics"]
    assert again["stderr_clustered"] == stderr_clustered(values, images)
    assert len(found["items"]) == len(MME["rows"])
    assert found["items"][0] == {
        "sample_id": "0",
        "score": 0.0,
        "status": "unparsed",
        "parsed": "other",
    }
    existence = found["metrics"]["categories"]["existence"]
    assert existence["score"] == 100 * existence["acc"] + 100 * existence["acc_plus"]
    total = found["metrics"]["perception"] + found["metrics"]["cognition"]
    assert found["metrics"]["total"] == pytest.approx(total)
    assert json.loads(json.dumps(found)) == found
