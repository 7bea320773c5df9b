"""Times the report of a large run: building it, opening it in Chromium, filtering in it.

python tests/benchmarks/bench_report.py [--benchmarks 20] [--stages 5] [--samples 5000] [--keep DIR]

Writes a run folder of that size (synthetic answers; mme and textvqa of their own rules, so that the
report scores them again under each profile), builds the report twice (from nothing, and with
nothing changed), and opens the page from disk in headless Chromium. "First view" is the time from
opening to the first contentful paint, "ready" until the page is interactive; a filter's time runs
from the change to the examples drawn.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from evals.report import build_report
from tests.evals.report import chromium
from tests.evals.report.conftest import MadeRun, put, put_lines

TEXT = "a small red round thing stands left of the blue square under a green table"
FILTERS = """
async (kind, text) => {
  const begun = performance.now();
  performance.clearMarks('plumbline-filtered');
  const by = document.getElementById(text === null ? 'by-kind' : 'by-text');
  by.value = text === null ? kind : text;
  by.dispatchEvent(new Event(text === null ? 'change' : 'input'));
  while (!performance.getEntriesByName('plumbline-filtered').length)
    await new Promise((resolve) => setTimeout(resolve, 1));
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
  return performance.now() - begun;
}
"""


class LargeRun(MadeRun):
    """A made-up run with as many report questions a benchmark as asked for."""

    samples: int = 5000

    def evaluate(self, stage: str, benchmark: str, shas: list[str]) -> None:
        folder = self.root / "evals" / stage / benchmark
        rng = random.Random(f"{stage}{benchmark}")
        answers, scores = [], []
        kind = benchmark if benchmark in ("mme", "textvqa") else "textvqa"
        for number in range(self.samples):
            index, half = divmod(number, 2)
            answer, score = self._answer(stage, kind, "report", index, half)
            if kind == "textvqa" and stage != "base":
                answer["response"] += " " + " ".join(rng.choices(TEXT.split(), k=rng.randrange(40)))
            facts = {
                "sample_id": f"{benchmark}-{number:05d}",
                "part": "report",
                "cluster_id": f"{benchmark}-{index:05d}",
            }
            category = {} if benchmark == "mme" else {"category": f"skill {index % 12}"}
            answers.append(answer | facts | category | {"images": [shas[index % len(shas)]]})
            scores.append(score | facts | category)
        put_lines(folder / "responses.jsonl", answers)
        put_lines(folder / "scores.jsonl", scores)
        told = self.result(stage, kind, scores)
        told["benchmark"] = benchmark
        told["parts"].pop("select")
        for against in told["comparisons"].values():
            flips = next(iter(against["report"]["flips_by_category"].values()))
            names = sorted({score["category"] for score in scores})
            against["report"]["flips_by_category"] = dict.fromkeys(names, flips)
        put(folder / "result.json", told)

    def _part(self, scores: list[dict], most: float) -> dict:
        return super()._part(scores, most) if scores else {"n": 0}


def size_of(folder: Path) -> float:
    """Megabytes of the files below, images left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png")
    return sum(path.stat().st_size for path in files) / 1e6


def timed(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def look(page: chromium.Page, url: str, rounds: int = 5) -> dict[str, float]:
    """Medians over some rounds of opening and filtering, in seconds."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        page.show(1280, 900)
        page.goto("about:blank")
        page.goto(url)
        paint = page.until("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        ready = page.js("performance.getEntriesByType('navigation')[0].domInteractive")
        begun = time.perf_counter()
        page.js("document.getElementById('examples').scrollIntoView()")
        page.until("document.querySelectorAll('.example').length > 0")
        times = {
            "first view": paint / 1000,
            "page ready": ready / 1000,
            "first examples": time.perf_counter() - begun,
        }
        for name, kind, text in (
            ("filter: lost", "lost", None),
            ("filter: all", "all", None),
            ("filter: won", "won", None),
            ("first search (reads every piece)", None, "green table"),
            ("next search", None, "no 17"),
        ):
            told = page.js(f"({FILTERS})({json.dumps(kind)}, {json.dumps(text)})")
            times[name] = told / 1000
        for name, seconds in times.items():
            found.setdefault(name, []).append(seconds)
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benchmarks", type=int, default=20)
    parser.add_argument("--stages", type=int, default=5)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--keep", type=Path, help="leave the run in this folder")
    given = parser.parse_args()
    names = ("mme", "textvqa", *(f"synthetic-{n:02d}" for n in range(1, 99)))[: given.benchmarks]
    stages = ("base", "sft", "dpo", "kto", "grpo")[: given.stages]
    with tempfile.TemporaryDirectory() as own:
        root = (given.keep or Path(own)) / "large"
        run = LargeRun(root, stages=stages, benchmarks=names, images=200)
        run.samples = given.samples
        print(f"run folder written in {timed(run.write):.1f} s")
        print(f"built from nothing in {timed(lambda: build_report(root)):.1f} s")
        print(f"built with nothing changed in {timed(lambda: build_report(root)):.2f} s")
        page = root / "report" / "index.html"
        print(
            f"page {page.stat().st_size / 1e6:.2f} MB, data {size_of(page.parent / 'data'):.1f} MB"
        )
        if chromium.found() is None:
            print("no Chromium: not opened")
            return
        with chromium.chromium() as browser:
            for name, seconds in look(browser, page.as_uri()).items():
                print(f"{name}: {seconds:.3f} s")
            print(f"errors: {browser.errors or 'none'}")


if __name__ == "__main__":
    main()
