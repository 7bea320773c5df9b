"""Few-shot prompts: worked examples in front of a question, from the data set's train or dev split.

The split is looked for beside the data: in the same folder, or in the hub's repository. Without it
the question is asked alone, with an instruction on the answer's form. Response rows say how many
examples there were (`num_shots`), and the prompts' hash differs, so the two are never compared.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from evals.base import Benchmark
from evals.data.items import Item, PartName, Row
from evals.data.layout import HubData, choose_files
from evals.data.sources import Table, read_table
from rl.errors import DataError


class FewShotBenchmark(Benchmark):
    """A text benchmark whose prompt begins with the first `num_shots` rows of the split
    `shot_split`; where the data have subjects (MMLU), those of the question's own subject.

    A subclass gives `shot_split`, `shot` (one example as text) and, with subjects, `subject`; its
    `prompt` puts `self.shots(row)` in front of the question.
    """

    image_columns: ClassVar[tuple[str, ...]] = ()
    num_shots: ClassVar[int] = 5
    shot_split: ClassVar[str]
    examples_by_subject: Mapping[str, Sequence[Row]] = {}

    @abstractmethod
    def shot(self, row: Row) -> str:
        """One worked example as the prompt shows it: question and answer."""

    def subject(self, row: Row) -> str:
        """The subject that a row and its examples share; "" where the data have none."""
        return ""

    def shots(self, row: Row) -> list[str]:
        """The examples in front of this row's question."""
        examples = self.examples_by_subject.get(self.subject(row), ())
        return [self.shot(example) for example in examples]

    def load(
        self,
        path: str | Path,
        part: PartName | None = None,
        *,
        profile: str = "official",
        prompt: str | None = None,
        limit: int | None = None,
    ) -> list[Item]:
        """As for every benchmark, with the examples found beside the data. Raises: DataError."""
        with_examples = self.with_examples(path)
        return super(FewShotBenchmark, with_examples).load(
            path, part, profile=profile, prompt=prompt, limit=limit
        )

    def with_examples(self, path: str | Path) -> Self:
        """A copy that has the examples found at a file, a folder or a hub id."""
        by_subject: dict[str, list[Row]] = {}
        for config, table in self._example_tables(path):
            for raw in table.rows():
                row = self.adapt(raw, config or table.config)
                examples = by_subject.setdefault(self.subject(row), [])
                if len(examples) < self.num_shots:
                    examples.append(row)
        benchmark = copy.copy(self)
        benchmark.examples_by_subject = by_subject
        return benchmark

    def _example_tables(self, path: str | Path) -> Iterator[tuple[str, Table]]:
        local = Path(path).expanduser()
        schemas = (self.columns, *self.other_columns)
        if str(path) in self.hub_ids and not local.exists():
            hub = HubData(self.shot_split, self.hub_ids[str(path)].configs)
            for table in read_table(path, self.id, schemas, {str(path): hub}):
                yield table.config, table
            return
        if local.is_dir():
            files = self._example_files(local)
        else:
            names = (f"{self.shot_split}-*", f"{self.shot_split}.*")
            beside = sorted(file for name in names for file in local.parent.glob(name))
            files = [("", f) for f in beside if f.suffix in (".parquet", ".jsonl") and f != local]
        for config, file in files:
            for table in read_table(file, self.id, schemas, {}):
                yield config, table

    def _example_files(self, folder: Path) -> list[tuple[str, Path]]:
        configs = next((hub.configs for hub in self.hub_ids.values()), ())
        try:
            chosen = choose_files(folder, {"": HubData(self.shot_split, configs)})
        except DataError:  # no such split; what is wrong with the data itself, `load` reports
            return []
        return chosen.rows if chosen.hub is not None else []
