"""The curves of the algorithms' pages, drawn from a finished run.

    python -m tests.docs.draw runs/quickstart-0

writes docs/images/curve-{sft,dpo,kto,grpo}.svg: plain SVG, readable on light and dark pages.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from rl.runs.metrics import read_metrics
from tests.docs.fences import ROOT

CURVES = {  # stage -> panels, each a title and the metrics drawn in it
    "sft": (("loss", ("loss",)), ("accuracy/token", ("accuracy/token",))),
    "dpo": (
        ("implicit rewards", ("rewards/chosen", "rewards/rejected")),
        ("rewards/accuracies", ("rewards/accuracies",)),
    ),
    "kto": (("implicit rewards", ("rewards/chosen", "rewards/rejected")), ("loss", ("loss",))),
    "grpo": (("reward", ("reward",)), ("frac_zero_std", ("frac_zero_std",))),
}
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #444; }
.rule { stroke: #bbb; stroke-width: 1; }
.a { fill: none; stroke: #1f6fb4; stroke-width: 1.8; }
.b { fill: none; stroke: #c2571a; stroke-width: 1.8; }
.ta { fill: #1f6fb4; } .tb { fill: #c2571a; }
@media (prefers-color-scheme: dark) {
text { fill: #ccc; } .rule { stroke: #666; }
.a { stroke: #6db3ee; } .b { stroke: #f09a5c; } .ta { fill: #6db3ee; } .tb { fill: #f09a5c; }
}
"""
WIDTH, HEIGHT = 320, 170  # of a panel's drawing
LEFT, TOP, GAP = 60, 40, 84
POINTS = 60


def series(run: Path, stage: str, key: str) -> list[tuple[int, float]]:
    """(step, mean over neighbouring steps) of a metric: at most POINTS of them."""
    rows = [
        (int(row["step"]), float(row[key]))
        for row in read_metrics(run / "stages" / stage / "metrics.jsonl")
        if row.get(key) is not None
    ]
    size = max(1, math.ceil(len(rows) / POINTS))
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [(group[-1][0], sum(v for _, v in group) / len(group)) for group in groups]


def panel(at: int, title: str, lines: Sequence[tuple[str, list[tuple[int, float]]]]) -> list[str]:
    """One panel: axes with their ends, a line a metric, its name where there are several."""
    values = [value for _, points in lines for _, value in points]
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    last = max(step for _, points in lines for step, _ in points)
    bottom = TOP + HEIGHT
    parts = [
        f'<text x="{at}" y="{TOP - 22}">{escape(title)}</text>',
        f'<line class="rule" x1="{at}" x2="{at}" y1="{TOP}" y2="{bottom}"/>',
        f'<line class="rule" x1="{at}" x2="{at + WIDTH}" y1="{bottom}" y2="{bottom}"/>',
        f'<text x="{at - 5}" y="{TOP + 4}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{at - 5}" y="{bottom}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{at + WIDTH}" y="{bottom + 17}" text-anchor="end">step {last}</text>',
    ]
    for kind, (name, points) in zip("ab", lines, strict=False):
        places = " ".join(
            f"{at + WIDTH * step / last:.1f},{bottom - HEIGHT * (value - low) / (high - low):.1f}"
            for step, value in points
        )
        parts.append(f'<polyline class="{kind}" points="{places}"/>')
        if len(lines) > 1:
            x = at + (0 if kind == "a" else 120)
            parts.append(f'<text class="t{kind}" x="{x}" y="{TOP - 7}">{escape(name)}</text>')
    return parts


def draw(run: Path, stage: str) -> str:
    """A stage's curves as SVG."""
    parts, at = [], LEFT
    for title, keys in CURVES[stage]:
        parts += panel(at, title, [(key, series(run, stage, key)) for key in keys])
        at += WIDTH + GAP
    width, height = at - GAP + 20, TOP + HEIGHT + 28
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img">',
            f"<title>{escape(stage)}: {escape(run.name)}</title>",
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>\n",
        ]
    )


def main(run: Path) -> None:
    """Writes every curve of the run."""
    for stage in CURVES:
        (ROOT / "docs" / "images" / f"curve-{stage}.svg").write_text(draw(run, stage))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
