"""What a benchmark is. Each is one file: in `evals/benchmarks/`, or your own (`./mine.py:Mine`).

A benchmark is a set of pure functions. A data row becomes a question (`prompt`, `item`), a stored
answer becomes a verdict (`score`), verdicts become metrics (`aggregate`), and for intervals and
tests they become sums of each image (`sums`, `statistic`). Nothing here asks a model or writes a
file.

A whole benchmark, whose score is the mean over questions:

>>> from evals.accuracy import AccuracyBenchmark
>>> from evals.asking.messages import one_turn
>>> from evals.data.items import reference_texts, response_text, verdict
>>> class Colours(AccuracyBenchmark):
...     id = "colours"
...     version = "1"  # raise it when the rule or the data changes
...     source, licence = "photographs of our own", "CC BY 4.0"
...     columns = ("image", "question", "answer")
...     max_new_tokens = 8
...
...     def prompt(self, row, profile):
...         return f"{row['question']} Answer with one word."
...
...     def item(self, row, number, images, prompt):
...         return one_turn(f"colours-{number}", prompt, images, [row["answer"]], row["question"])
...
...     def judge(self, row, profile):
...         said = response_text(row, self.id).strip().lower()
...         return verdict(row, float(said in reference_texts(row, self.id)), said)
>>> Colours().score({"sample_id": "colours-0", "references": ["red"], "response": " Red"})
ItemScore(score=1.0, status='ok', parsed='red', tally=())
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from evals.data.items import Item, ItemScore, PartName, Row, gold_answer
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
    """One entry of a recipe's `evals.benchmarks`.

    evals:
      benchmarks:
        - {name: mme, path: data/mme}
        - {name: pope, path: lmms-lab/POPE, limit: 500}
    """

    name: str = Field(description="A benchmark's id, or your own: ./mine.yaml, ./mine.py:Mine.")
    path: str | None = Field(
        None, description="A parquet or JSONL file, a folder of them, or a hub id."
    )
    limit: int | None = Field(
        None,
        ge=1,
        description="At most so many questions of each part: a fixed, stratified subset.",
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="The length limit of an answer; by default the benchmark's own."
    )
    n: int = Field(1, ge=1, description="Answers a question: mean@n, pass@k and majority.")
    temperature: float = Field(0.0, ge=0, description="Must be above 0 where n is above 1.")
    profile: str = Field(
        "official", description="Whose scoring rule; the reported one is official."
    )
    prompt: str | None = Field(
        None, description="Replaces the prompt; {question} becomes the question."
    )
    no_images: bool = Field(
        False,
        description="The text-only probe: what is right without the image was guessed or known.",
    )

    @model_validator(mode="after")
    def _differ(self) -> BenchmarkConfig:
        if self.n > 1 and self.temperature == 0:
            raise ValueError("n above 1 needs a temperature above 0: greedy answers are all equal")
        return self

    def path_for(self, benchmark: Benchmark) -> str:
        """Where the data is. Raises: ConfigError if neither recipe nor benchmark says."""
        path = self.path or benchmark.default_path
        if path is None:
            raise ConfigError("no path", where=f"evals.benchmarks {self.name}", do="add `path:`")
        return path


class Benchmark(ABC):
    """A benchmark. Usually its base is `AccuracyBenchmark` or `ChoiceBenchmark`, which give most of
    what follows.

        benchmark = get_benchmark("textvqa")
        items = benchmark.load("data/textvqa", part="report", limit=500)   # questions to ask
        scores = [benchmark.score(row) for row in rows]                    # of stored answers
        benchmark.aggregate(rows, scores)["accuracy"]                      # 0.653

    A subclass must give:
    - the card: `id`, `version`, `source`, `licence`, `columns`, `max_new_tokens`;
    - the question: `prompt` (its text) and `item` (its id, references, category);
    - the verdict: `score`, on one stored answer;
    - the metrics: `primary_name`, and `aggregate` over all verdicts;
    - for intervals and tests, the same statistic as a function of sums: `sums` (of each image),
      `statistic` (of their totals) and `max_score`.

    It may give, where it differs from the default:
    - `adapt` and `other_columns` (data in other columns), `image_columns`, `question_column`;
    - `layout` (what the columns of `sums` mean), `for_profile` (other sums by another rule);
    - `gold`, `floor_score`, `random_baseline`, `is_parsed`, `yes_ratio`, `tie`, `default_path`.

    It gets: `load` (files, folders, hub ids; the two parts; subsets), `check_gold`, and everything
    that works for every benchmark: asking, resuming, intervals, paired tests, the gate, the report.

    A *profile* is whose rule scores: `official` is the authors', the others reproduce lmms-eval's
    and VLMEvalKit's figures.
    """

    id: ClassVar[str]
    version: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    hub_ids: ClassVar[Mapping[str, HubData]] = {}
    expected_rows: ClassVar[int] = 0  # of the hub's split; checked when it is read from the hub
    columns: ClassVar[tuple[str, ...]]  # that the data must have
    other_columns: ClassVar[tuple[tuple[str, ...], ...]] = ()  # or these; `adapt` renames them
    image_columns: ClassVar[tuple[str, ...]] = ("image",)  # none: a text benchmark
    images_are_optional: ClassVar[bool] = False  # whether a row may be without any image
    question_column: ClassVar[str] = "question"
    max_new_tokens: ClassVar[int]
    primary_name: ClassVar[str]
    is_yes_no: ClassVar[bool] = False  # whether every answer is yes or no
    # How the primary statistic is built, in plain words; the report shows it beside the score.
    primary_rule: ClassVar[str] = "The mean score of a question; each scores from 0 to 1."
    default_profile: ClassVar[str] = "official"  # of `plumbline score`
    needs_judge: ClassVar[bool] = False  # whether no answer can be scored without one
    profiles: ClassVar[tuple[str, ...]] = PROFILES
    # The rows of one image as the data holds them, without the image. The contract tests make a
    # small data set of them.
    examples: ClassVar[tuple[Row, ...]] = ()

    def adapt(self, row: Row, config: str) -> Row:
        """The data row in the columns that the other methods read. `config` is the name of the hub
        configuration that the row is from.
        """
        return row

    @abstractmethod
    def prompt(self, row: Row, profile: str) -> str:
        """The text that the model gets after the images."""

    @abstractmethod
    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """The question of one data row.

        `number` counts the rows from 0, and `prompt` is the text to ask. `images` is also empty
        where an image is missing: such a row becomes an error row, so do not refuse it here. `load`
        sets the item's part. Raises: DataError where the row cannot be asked.
        """

    @abstractmethod
    def score(self, row: Row, profile: str = "official") -> ItemScore:
        """The verdict on one response row, by the profile's rule; of an error row, an error. The
        row is not changed. Raises: DataError where the row lacks what the rule needs.
        """

    @abstractmethod
    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """The benchmark's metrics, `primary_name` among them. Errors are left out; a mean of
        nothing is None.

        Verdicts are read from `scores` and never from the rows' answers: with several answers a
        question the rows are the same in every round, and only `scores` differ. Raises: DataError.
        """

    @abstractmethod
    def sums(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], layout: Sequence[str]
    ) -> tuple[list[str], Floats]:
        """What each cluster (image) contributes to `statistic`: (cluster ids, [C, K]), clusters in
        order of first appearance. K sums a cluster, such as the sum of scores and the number of
        questions (`evals.accuracy.cell_sums`). Raises: EvalError where a row has no cluster.
        """

    @abstractmethod
    def statistic(self, totals: Floats) -> Floats:
        """The primary statistic of the clusters' added-up sums: [..., K] -> [...]. Of the totals of
        all clusters it equals `aggregate`'s value; the bootstrap calls it with those of resamples.
        """

    @abstractmethod
    def max_score(self, rows: Sequence[Row]) -> float:
        """The largest value that the primary statistic can have on these rows."""

    def layout(self, rows: Sequence[Row]) -> list[str]:
        """The categories in a fixed order, by which the K columns of `sums` are laid out. One entry
        where the statistic does not depend on categories.
        """
        return sorted({str(row.get("category", "")) for row in rows})

    def primary(self, metrics: Mapping[str, Any]) -> float:
        """The primary statistic's value in `metrics`."""
        return float(metrics[self.primary_name])

    def for_profile(self, profile: str) -> Benchmark:
        """This benchmark with the `sums` and `statistic` of another profile, where they differ."""
        return self

    def tie(self, item: Item) -> str:
        """A name that items share which are scored together (MME's two questions about an image),
        or "". An item without its image then stays in the part of the others.
        """
        return ""

    @property
    def default_path(self) -> str | None:
        """Where the data is when no path is given."""
        return None

    def random_baseline(self, rows: Sequence[Row]) -> float | None:
        """What guessing scores on these rows on average, in the unit of the primary statistic; None
        where there is nothing to choose from.
        """
        return None

    def floor_score(self, rows: Sequence[Row], profile: str = "official") -> float:
        """What empty answers score."""
        return 0.0

    def gold(self, row: Row) -> str:
        """An answer that scores the maximum on this row."""
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
        """The questions of a file, a folder or a hub id, in the data's order.

        The two parts share no image: `select*` and `report*` files of a folder are the parts;
        otherwise a third of the images, chosen by hash, is `select`. `part` keeps one of them.
        `prompt` replaces the benchmark's own ({question} becomes the question); `limit` takes a
        fixed stratified subset of each part. Raises: DataError naming file and row.
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
                do=f"fetch the images, or fix the column ({items[0].place}: {items[0].problem})",
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
        known: dict[str, ImageSource] = {}  # questions about one image share one copy of its bytes
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
            except KeyError as error:  # each JSONL row may have other columns
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
                    do=error.do or "fix or remove the row",
                ) from error
            part = table.part or "report"
            place = table.place(number)
            yield replace(item, part=part, origin=table.origin, place=place, problem=problem)

    def check_gold(self, rows: Sequence[Row], profile: str = "official") -> tuple[float, float]:
        """What the references themselves score and what empty answers score. A contract test
        requires `max_score` and `floor_score`.
        """
        values = []
        for texts in ([self.gold(row) for row in rows], [""] * len(rows)):
            answered = [{**row, "response": text} for row, text in zip(rows, texts, strict=True)]
            scores = [self.score(row, profile) for row in answered]
            values.append(self.primary(self.aggregate(answered, scores, profile)))
        return values[0], values[1]
