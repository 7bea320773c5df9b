"""What guessing scores: the benchmark's own statistic of a coin's answers."""

import itertools
import random
import statistics

import pytest

from evals.registry import get_benchmark


def test_mme_is_the_mean_over_every_way_to_answer_an_image():
    mme = get_benchmark("mme")
    rows = [
        {"sample_id": n, "cluster_id": "a", "category": "count", "references": [answer]}
        for n, answer in enumerate(("Yes", "No"))
    ]
    totals = []
    for answers in itertools.product(("Yes", "No"), repeat=2):
        given = [{**row, "response": text} for row, text in zip(rows, answers, strict=True)]
        metrics = mme.aggregate(given, [mme.score(row) for row in given])
        totals.append(metrics["total"])
    assert mme.random_baseline(rows) == statistics.fmean(totals) == 75.0


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_pope_is_the_f1_of_a_coin(share):
    pope, coin = get_benchmark("pope"), random.Random(0)
    rows = [
        {
            "sample_id": n,
            "category": "random",
            "references": ["yes" if n < share * 20_000 else "no"],
            "response": coin.choice(("yes", "no")),
        }
        for n in range(20_000)
    ]
    f1 = pope.primary(pope.aggregate(rows, [pope.score(row) for row in rows]))
    assert pope.random_baseline(rows) == pytest.approx(f1, abs=0.01)
