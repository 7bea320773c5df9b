"""What a benchmark is: one file in `evals/benchmarks/` with its source, licence, prompt, scorer and
aggregate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from evals.data.items import (
    Item,
    ItemScore,
    PartName,
    Row,
    gold_answer,
)
from evals.data.layout import HubData
from evals.data.parts import require_disjoint, split_parts, take, with_mates
from evals.data.sources import MissingImage, Table, read_table, require_count
from evals.scoring.stats import Floats
from rl.config import Section
from rl.core import ImageSource
from rl.errors import ConfigError, DataError
from rl.plugins import did_you_mean

PROFILES = ("official", "lmms_eval", "vlmevalkit")


class BenchmarkConfig(Section):
    """One line of a recipe's `evals.benchmarks`."""

    name: str = Field(description="A benchmark's id, or your own: ./mine.yaml, ./mine.py:Mine.")
    path: str | None = Field(
        None, description="A parquet or JSONL file, a folder of them, or a hub id."
    )
    limit: int | None = Field(
        None, ge=1, description="At most so many questions a part: a fixed, stratified subset."
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="The answers' length limit; by default the benchmark's own."
    )
    n: int = Field(1, ge=1, description="Answers a question: mean@n, pass@k and majority.")
    temperature: float = Field(0.0, ge=0, description="Above 0 where n is above 1.")
    profile: str = Field("official", description="Whose scoring rule: official is the reported.")
    prompt: str | None = Field(
        None, description="Overrides the prompt; {question} stands for the question."
    )
    no_images: bool = Field(
        False, description="The text-only probe: what is right without the image was guessed."
    )

    @model_validator(mode="after")
    def _differ(self) -> BenchmarkConfig:
        if self.n > 1 and self.temperature == 0:
            raise ValueError("n above 1 needs a temperature above 0: greedy answers are all equal")
        return self

    def path_for(self, benchmark: Benchmark) -> str:
        """Where the data is. Raises: ConfigError where neither the line nor the benchmark says."""
        path = self.path or benchmark.default_path
        if path is None:
            raise ConfigError("no path", where=f"evals.benchmarks {self.name}", do="add `path:`")
        return path


class Benchmark(ABC):
    """A benchmark: pure functions of rows. A subclass states the class variables and the abstract
    methods.
    """

    id: ClassVar[str]
    version: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    hub_ids: ClassVar[Mapping[str, HubData]]
    expected_rows: ClassVar[int]  # of the hub's split
    columns: ClassVar[tuple[str, ...]]  # that the data must have
    other_columns: ClassVar[tuple[tuple[str, ...], ...]] = ()  # or those; `adapt` renames them
    image_columns: ClassVar[tuple[str, ...]] = ("image",)  # none: a text benchmark
    images_are_optional: ClassVar[bool] = False  # whether a row may be without any image
    question_column: ClassVar[str] = "question"
    max_new_tokens: ClassVar[int]
    primary_name: ClassVar[str]
    is_yes_no: ClassVar[bool] = False  # whether every answer is yes or no
    # How the primary statistic is built, in plain words: it stands beside the score.
    primary_rule: ClassVar[str] = "The mean score of a question; each scores from 0 to 1."
    default_profile: ClassVar[str] = "official"  # of `plumbline score`
    needs_judge: ClassVar[bool] = False  # whether no answer can be scored without one
    profiles: ClassVar[tuple[str, ...]] = PROFILES
    # The rows of one image as the data holds them, without the image: contract tests repeat them.
    examples: ClassVar[tuple[Row, ...]]

    def adapt(self, row: Row, config: str) -> Row:
        """A data row in the benchmark's usual columns; `config` is the hub configuration's name."""
        return row

    @abstractmethod
    def prompt(self, row: Row, profile: str) -> str:
        """The text that the model gets beside the images."""

    @abstractmethod
    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """The item of one data row (its part is set by `load`); `images` is empty where a row that
        needs one has none. Raises: DataError.
        """

    @abstractmethod
    def score(self, row: Row, profile: str = "official") -> ItemScore:
        """The verdict on one response row, which is not changed. Raises: DataError where the row
        lacks what the rule needs.
        """

    @abstractmethod
    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """The benchmark's metrics over these rows; errors stand outside. What was answered stands
        in `scores` alone: rows say what the questions are. Raises: DataError.
        """

    @abstractmethod
    def sums(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], layout: Sequence[str]
    ) -> tuple[list[str], Floats]:
        """Each cluster's sufficient statistics for `statistic`: (cluster ids, [C, K])."""

    @abstractmethod
    def statistic(self, totals: Floats) -> Floats:
        """The primary statistic of totals of sufficient statistics: [..., K] -> [...]."""

    @abstractmethod
    def max_score(self, rows: Sequence[Row]) -> float:
        """The primary statistic's maximum on these rows."""

    def layout(self, rows: Sequence[Row]) -> list[str]:
        """The categories in a fixed order: what the K columns of `sums` mean."""
        return sorted({str(row.get("category", "")) for row in rows})

    def primary(self, metrics: Mapping[str, Any]) -> float:
        """The primary statistic's value in `metrics`."""
        return float(metrics[self.primary_name])

    def for_profile(self, profile: str) -> Benchmark:
        """The benchmark whose `sums` and `statistic` are this profile's, where they differ."""
        return self

    def tie(self, item: Item) -> str:
        """What keeps items together when one of them lacks its image, or ""."""
        return ""

    @property
    def default_path(self) -> str | None:
        """Where the data is when no path is given."""
        return None

    def random_baseline(self, rows: Sequence[Row]) -> float | None:
        """What guessing scores on these rows, in the primary statistic's unit; None where there is
        nothing to guess from.
        """
        return None

    def floor_score(self, rows: Sequence[Row], profile: str = "official") -> float:
        """The primary statistic of empty answers."""
        return 0.0

    def gold(self, row: Row) -> str:
        """The response that scores the maximum on this response row."""
        return gold_answer(row)

    def is_parsed(self, score: ItemScore) -> bool:
        """Whether the rule could read an answer."""
        return score.parsed not in (None, "", "other")

    def yes_ratio(self, scores: Sequence[ItemScore]) -> float | None:
        """The share of yes among the answers that have a score; None without such an answer, and
        for a benchmark without yes and no.
        """
        scored = [score for score in scores if score.score is not None]
        if not self.is_yes_no or not scored:
            return None
        return sum(score.parsed == "yes" for score in scored) / len(scored)

    def require_profile(self, profile: str) -> None:
        """Raises: ConfigError for a profile that this benchmark does not have."""
        if profile not in self.profiles:
            raise ConfigError(
                f"unknown profile {profile!r}{did_you_mean(profile, self.profiles)}",
                where=f"benchmark {self.id}",
                expected=", ".join(self.profiles),
                do="choose one of these",
            )

    def load(
        self,
        path: str | Path,
        part: PartName | None = None,
        *,
        profile: str = "official",
        prompt: str | None = None,
        limit: int | None = None,
    ) -> list[Item]:
        """The items of a file, a folder or a hub id, in the data's order, parts disjoint by image.

        `select*` and `report*` files of a folder are the parts; otherwise a third of the images, by
        hash, is `select`. `prompt` overrides the benchmark's (`{question}`); `limit` takes a fixed
        stratified subset of each part. Raises: DataError naming file and row.
        """
        self.require_profile(profile)
        items: list[Item] = []
        tables = read_table(path, self.id, (self.columns, *self.other_columns), self.hub_ids)
        require_count(tables, self.expected_rows, self.hub_ids.get(str(path)))
        for table in tables:
            items += self._items_of(table, len(items), profile, prompt)
        if not items:
            raise DataError(
                "no questions", where=f"benchmark {self.id}, {path}", do="check the path"
            )
        if all(item.problem for item in items):
            raise DataError(
                "no image in any row",
                where=str(path),
                expected="images beside the data file, or in it",
                do=f"fetch the images, or mend the column ({items[0].place}: {items[0].problem})",
            )
        items = with_mates(items, [self.tie(item) for item in items])
        if not any(table.part for table in tables):
            items = [replace(i, part=p) for i, p in zip(items, split_parts(items), strict=True)]
        require_disjoint(items, str(path))
        kept = [item for item in items if part is None or item.part == part]
        return kept if limit is None else take(kept, limit)

    def _items_of(
        self, table: Table, start: int, profile: str, prompt: str | None
    ) -> Iterable[Item]:
        known: dict[str, ImageSource] = {}  # questions about one image share its bytes
        for number, raw in enumerate(table.rows()):
            row = self.adapt(raw, table.config)
            problem = ""
            try:
                images = table.images(
                    row, self.image_columns, are_optional=self.images_are_optional
                )
                images = tuple(known.setdefault(i.path or i.sha256, i) for i in images)
            except MissingImage as error:
                images, problem = (), error.what
            try:
                text = self.prompt(row, profile)
                if prompt is not None:
                    text = prompt.replace("{question}", str(row[self.question_column]))
                item = self.item(row, start + number, images, text)
            except KeyError as error:  # JSONL rows may differ in what they hold
                raise DataError(
                    f"no column {error}",
                    where=table.place(number),
                    expected="as other rows",
                    do="add it, or remove the row",
                ) from error
            except DataError as error:
                raise DataError(
                    error.what,
                    where=error.where or table.place(number),
                    expected=error.expected,
                    do=error.do or "mend or remove the row",
                ) from error
            part = table.part or "report"
            place = table.place(number)
            yield replace(item, part=part, origin=table.origin, place=place, problem=problem)

    def check_gold(self, rows: Sequence[Row], profile: str = "official") -> tuple[float, float]:
        """The primary statistic of the references themselves and of empty answers: the maximum and
        the floor.
        """
        values = []
        for answers in ([self.gold(row) for row in rows], [""] * len(rows)):
            given = [{**row, "response": answer} for row, answer in zip(rows, answers, strict=True)]
            scores = [self.score(row, profile) for row in given]
            values.append(self.primary(self.aggregate(given, scores, profile)))
        return values[0], values[1]
