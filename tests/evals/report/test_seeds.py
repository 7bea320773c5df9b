"""Runs of one recipe with several seeds: how far scores move when it is trained again."""

import json
import statistics

import pytest

from evals.report.crossrun.index import write_index
from evals.report.crossrun.seeds import spreads
from evals.report.facts.rows import rows
from evals.report.run import read_run
from tests.evals.report.conftest import MadeRun


@pytest.fixture
def seeded(tmp_path):
    """Three runs of one recipe, seeds 0 to 2, whose sft scores 500, 560 and 530 on mme."""
    found = []
    for seed, value in enumerate((500.0, 560.0, 530.0)):
        run = MadeRun(tmp_path / f"run-{seed}", stages=("base", "sft"), images=4).write()
        page = json.loads((run / "config.yaml").read_text())
        page["run"] = {"name": f"run-{seed}", "seed": seed, "root": f"runs/{seed}"}
        (run / "config.yaml").write_text(json.dumps(page))
        path = run / "evals" / "sft" / "mme" / "result.json"
        result = json.loads(path.read_text())
        result["parts"]["report"] |= {"value": value, "interval": [value - 10, value + 10]}
        result["comparisons"]["parent"]["report"]["difference"] = value - 540
        path.write_text(json.dumps(result))
        found.append(run)
    return found


def of(roots):
    return spreads([(run, rows(run)) for run in map(read_run, roots)])


def test_the_spread_is_over_runs_that_differ_in_their_seed_alone(seeded):
    found = {(one.stage, one.benchmark): one for one in of(seeded)}
    assert set(found) == {("sft", "mme"), ("sft", "textvqa")}  # base was not trained
    mme = found["sft", "mme"]
    assert mme.seeds == (0, 1, 2)
    assert mme.values == [500.0, 560.0, 530.0]
    assert mme.stdev == statistics.stdev([500, 560, 530])
    assert mme.half == 10
    assert (mme.risen, mme.mean_change) == (1, -10)


def test_another_recipe_another_rule_or_one_seed_gives_no_spread(seeded):
    page = json.loads((seeded[0] / "config.yaml").read_text())
    page["model"]["path"] = "models/other"
    (seeded[0] / "config.yaml").write_text(json.dumps(page))
    assert {one.seeds for one in of(seeded)} == {(1, 2)}
    assert of([seeded[1], seeded[1]]) == []
    path = seeded[1] / "evals" / "sft" / "mme" / "result.json"
    result = json.loads(path.read_text())
    result["profile"] = "lmms_eval"
    path.write_text(json.dumps(result))
    assert [one.benchmark for one in of(seeded[1:])] == ["textvqa"]


def test_the_index_shows_it_everywhere(seeded, tmp_path):
    page = write_index(seeded, tmp_path / "all")
    text = page.read_text()
    assert "Over seeds" in text
    assert "1 of 3" in text
    told = json.loads((tmp_path / "all" / "leaderboard.json").read_text())["seeds"]
    assert {one["benchmark"]: one["stdev"] for one in told}["mme"] == 30.0
    assert (
        "**sft** on mme: mean 530.0, standard deviation 30.00 over 3 seeds"
        in (tmp_path / "all" / "leaderboard.md").read_text()
    )
    alone = write_index(seeded[:1], tmp_path / "one").read_text()
    assert "Over seeds" not in alone
