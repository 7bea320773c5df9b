"""What the harness writes is what the report reads."""

import itertools
import json

from evals.asking.generate import EvalSettings, evaluate
from evals.benchmarks.mme import MME
from evals.decisions.gate import GateConfig
from evals.report import build_report
from evals.scoring.results import ResultOptions, write_result
from rl.core import Completion, Rollout


class Answers:
    """A sampler that gives its answers in turn."""

    def __init__(self, *texts):
        self.texts = itertools.cycle(texts)

    def sample_stream(self, samples, sampling, *, on_error=None):
        for sample in samples:
            yield Rollout(sample, (1,), (self._next(),))

    def _next(self):
        return Completion((1, 2), (0.0, 0.0), next(self.texts), "stop", (0, 0))


def test_a_run_that_the_harness_wrote_has_a_whole_report(tmp_path, mme_folder):
    run = tmp_path / "run"
    items = MME().load(mme_folder)
    for stage, texts, parent in (("base", ["a fish"], None), ("sft", ["Yes", "Yes", "No"], "base")):
        folder = run / "evals" / stage / "mme"
        settings = EvalSettings(max_new_tokens=16, backend="table")
        evaluate(MME(), items, Answers(*texts), folder, settings=settings, weights=stage)
        above = run / "evals" / parent / "mme" if parent else None
        gate = GateConfig()
        write_result(folder, MME(), ResultOptions(stage=stage, parent=above, base=above, gate=gate))
    text = build_report(run).read_text()
    told = json.loads((run / "report" / "leaderboard.json").read_text())
    base, sft = told["rows"]
    assert (base["stage"], base["parse_rate"], base["parent"]) == ("base", 0.0, None)
    assert sft["parse_rate"] == 1.0
    assert base["accuracy"] < sft["majority_baseline"] == 0.5
    assert sft["parent"]["stage"] == "base"
    assert sft["parent"]["verdict"] == "better"
    assert 0 < sft["parent"]["mde"] < 1
    assert 'class="problems"' not in text
    assert len(list((run / "report" / "images").glob("*.png"))) == len(
        {item.cluster_id for item in items if item.part == "report"}
    )
