"""What the harness writes is what the report reads."""

import json

from evals.benchmarks.mme import MME
from evals.gates import GateConfig
from evals.harness import EvalSettings, evaluate, write_result
from evals.report import build_report
