"""The golden files that rewards and benchmarks share."""

import json
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "evals" / "fixtures"


def rows_of(name: str) -> list[dict]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["rows"]
