"""Several answers a question: mean, majority, pass@k against a count of all draws, truncation."""

import itertools
import json
import math
from dataclasses import replace

import pytest

from evals.asking.generate import EvalSettings, evaluate
from evals.base import BenchmarkConfig
from evals.data.items import ItemScore
from evals.decisions.gate import GateConfig
from evals.registry import get_benchmark
from evals.scoring.results import ResultOptions, write_result
from evals.scoring.samples import majority, pass_at_k, score_rows, summary
from rl.core import Completion
from tests.evals.conftest import TableSampler

MME = get_benchmark("mme")
SETTINGS = EvalSettings(max_new_tokens=8, n=4, temperature=0.7)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(n: int):
    for correct in range(n + 1):
        marks = [True] * correct + [False] * (n - correct)
        for k in range(1, n + 1):
            draws = list(itertools.combinations(marks, k))
            assert math.isclose(pass_at_k(n, correct, k), sum(map(any, draws)) / len(draws))
    with pytest.raises(ValueError, match="pass@0 of 4 answers"):
        pass_at_k(4, 1, 0)


def test_the_majority_is_the_first_of_equals_and_unread_answers_do_not_vote():
    a, b, c = ItemScore(1.0, "ok", "A"), ItemScore(0.0, "ok", "B"), ItemScore(0.0, "unparsed", None)
    assert majority(MME, [b, a, a]) == a
    assert majority(MME, [b, a]) == b
    assert majority(MME, [c, c, c, a, b]) == a
    assert majority(MME, [c, c]) == c


def test_greedy_answers_cannot_differ():
    with pytest.raises(ValueError, match="n above 1 needs a temperature"):
        BenchmarkConfig(name="mme", path="x", n=4)
    assert BenchmarkConfig(name="mme", path="x", n=4, temperature=1.0).n == 4


class Sampled(TableSampler):
    """Three of four answers right, the last cut off in its reasoning; question 2 fails."""

    def _one(self, sample, sampling):
        assert (sampling.n, sampling.temperature) == (4, 0.7)
        rollout = super()._one(sample, sampling)
        cut = Completion((1, 2), (0.0, 0.0), "<think>hm", "length")
        abort = Completion((), (), "", "abort")
        last = abort if sample.uid == "mme-00002" else cut
        return replace(rollout, completions=(*rollout.completions[:3], last))


def test_a_question_with_several_answers(tmp_path, mme_folder):
    items = MME.load(mme_folder)
    folder = tmp_path / "evals/base/mme"

    def answers(sample) -> list[str]:
        right = sample.references[0]
        wrong = "No" if right == "Yes" else "Yes"
        return [wrong, right, right, ""]

    evaluate(MME, items, Sampled(answers), folder, settings=SETTINGS, weights="w")
    rows = [json.loads(line) for line in (folder / "responses.jsonl").read_text().splitlines()]
    row = rows[0]
    assert [one["response"] for one in row["samples"]] == ["No", "Yes", "Yes", ""]
    assert row["response"] == "No"
    assert row["num_tokens"] == 8
    assert row["samples"][3]["reasoning"] == "hm"
    assert rows[2]["error"] == "the engine aborted the request"
    scored = score_rows(MME, rows)
    assert scored.scores[0] == ItemScore(0.5, "ok", "yes")
    found = summary(MME, scored)
    shares = [0.0, 1.0, 1.0, 0.0]
    assert found["mean"] == pytest.approx(sum(400 * share for share in shares) / 4)
    assert found["majority"] == 400
    assert found["pass_at"] == pytest.approx({"1": 0.5, "2": 1 - 1 / 6, "4": 1.0})
    assert found["truncated_share"] == 0.25
    result = write_result(folder, MME, ResultOptions(stage="base", gate=GateConfig()))
    part = result["parts"]["report"]
    assert part["accuracy"] == 0.5
    assert part["value"] == part["metrics"]["total"] == part["sampling"]["mean"]
    assert part["sampling"]["majority"] == 400
    assert result["settings"]["n"] == 4


def test_one_answer_a_question_has_no_summary(tmp_path, mme_folder):
    items = MME.load(mme_folder)
    folder = tmp_path / "evals/base/mme"
    sampler = TableSampler(lambda sample: "Yes")
    evaluate(MME, items, sampler, folder, settings=replace(SETTINGS, n=1), weights="w")
    result = write_result(folder, MME, ResultOptions(stage="base", gate=GateConfig()))
    assert result["parts"]["report"]["sampling"] is None
    # More answers a question are other questions to the cache.
    four = TableSampler(lambda sample: ["Yes"] * 4)
    evaluate(MME, items, four, folder, settings=SETTINGS, weights="w")
    assert four.asked == len(items)
