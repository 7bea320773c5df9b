"""Small benchmarks in the hub's own schema, and a sampler that answers from a table."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evals.base import Benchmark, BenchmarkConfig
from evals.data.items import Item
from evals.registry import get_benchmark
from rl.core import Completion, OnRefused, Rollout, Sample, Sampling
from rl.errors import DataError

FIXTURES = Path(__file__).parent / "fixtures"


def open_benchmark(config: BenchmarkConfig) -> tuple[Benchmark, list[Item]]:
    """The benchmark that a recipe names, with its items of both parts."""
    benchmark = get_benchmark(config.name)
    items = benchmark.load(
        config.path_for(benchmark), profile=config.profile, prompt=config.prompt, limit=config.limit
    )
    return benchmark, items


def png(seed: int, size: int = 8) -> bytes:
    out = io.BytesIO()
    colour = (seed % 256, seed // 256 % 256, 40)
    Image.new("RGB", (size, size), colour).save(out, format="PNG")
    return out.getvalue()


def write_parquet(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def mme_rows(start: int, num_images: int, category: str = "count") -> list[dict]:
    return [
        {
            "question_id": f"{category}/{image:04d}.png",
            "image": {"bytes": png(image), "path": None},
            "question": f"Are there {image + number} dots? Please answer yes or no.",
            "answer": "Yes" if number == 0 else "No",
            "category": category,
        }
        for image in range(start, start + num_images)
        for number in range(2)
    ]


def textvqa_rows(start: int, num_images: int) -> list[dict]:
    return [
        {
            "image_id": f"{image:08x}",
            "question_id": image,
            "image": {"bytes": png(image), "path": None},
            "question": "What is the word?",
            "answers": ["stop"] * 8 + ["Stop sign", "go"],
        }
        for image in range(start, start + num_images)
    ]


@pytest.fixture
def mme_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mme"
    write_parquet(folder / "select-0.parquet", mme_rows(0, 20) + mme_rows(20, 10, "color"))
    write_parquet(folder / "report-0.parquet", mme_rows(100, 30) + mme_rows(130, 10, "color"))
    return folder


class TableSampler:
    """Answers each sample by a function, newest first of eight at a time; counts what it was
    asked.
    """

    def __init__(self, answer: Callable[[Sample], str]) -> None:
        self.answer, self.asked = answer, 0

    def sample_stream(
        self,
        samples: Iterable[Sample],
        sampling: Sampling,
        *,
        on_error: OnRefused | None = None,
    ) -> Iterator[Rollout]:
        source = iter(samples)
        while part := list(itertools.islice(source, 8)):
            self.asked += len(part)
            for sample in reversed(part):
                try:
                    yield self._one(sample, sampling)
                except DataError as error:
                    on_error(sample, error.line())

    def _one(self, sample: Sample, sampling: Sampling) -> Rollout:
        answers = self.answer(sample)
        texts = [answers] if isinstance(answers, str) else answers
        assert len(texts) == sampling.n
        return Rollout(sample, (1, 2, 3), tuple(map(self._completion, texts)))

    def _completion(self, text: str) -> Completion:
        ids = tuple(range(len(text.split()) + 1))
        return Completion(ids, (0.0,) * len(ids), text, "stop", (0,) * len(ids))


@pytest.fixture
def golden() -> Callable[[str], dict]:
    return lambda name: json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
