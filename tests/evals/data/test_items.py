"""Rows: the mean of nothing is None, and a row without its cluster is named."""

import pytest

from evals.data.items import ItemScore, cluster_id_of, mean_of
from rl.errors import EvalError


def test_the_mean_of_nothing_is_none_and_never_0():
    failed = ItemScore(None, "error")
    assert mean_of([]) is None
    assert mean_of([failed, failed]) is None
    assert mean_of([failed, ItemScore(0.0, "ok")]) == 0.0


@pytest.mark.parametrize("row", [{}, {"cluster_id": None}, {"cluster_id": ""}])
def test_a_row_without_a_cluster_is_named(row):
    with pytest.raises(EvalError, match="answer gqa-7: no cluster_id"):
        cluster_id_of({"sample_id": "gqa-7", **row})
    assert cluster_id_of({"cluster_id": 3}) == "3"
