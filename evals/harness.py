"""The harness in three pure layers: `evaluate` asks, `score_folder` scores, `write_result` compares
and decides.
"""

from evals.generate import EvalSettings, evaluate, read_responses, split_reasoning
from evals.paired import Scored, compare
from evals.results import score_folder, write_result

__all__ = [
    "EvalSettings",
    "Scored",
    "compare",
    "evaluate",
    "read_responses",
    "score_folder",
    "split_reasoning",
    "write_result",
]
