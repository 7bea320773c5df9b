"""Evaluates MME questions with a sampler that takes its time, until it is killed: for
test_killed.py. Arguments: data, folder, a file that gets each question as it is asked.
"""

import sys
import time
from pathlib import Path

from evals.asking.generate import EvalSettings, evaluate
from evals.registry import get_benchmark
from rl.core import Completion, Rollout


class Patient:
    def __init__(self, told: Path) -> None:
        self.told = told

    def sample_stream(self, samples, sampling, *, on_error=None):
        with self.told.open("a", buffering=1) as told:
            for sample in samples:
                told.write(f"{sample.uid}\n")
                time.sleep(0.002)
                text = "Yes" if int(sample.uid[-2:]) % 3 else "No"
                yield Rollout(sample, (1,), (Completion((1,), (0.0,), text, "stop"),))


if __name__ == "__main__":
    data, folder, told = map(Path, sys.argv[1:])
    benchmark = get_benchmark("mme")
    settings = EvalSettings(max_new_tokens=16)
    evaluate(benchmark, benchmark.load(data), Patient(told), folder, settings=settings, weights="w")
