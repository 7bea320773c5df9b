"""Benchmarks without code: a YAML file says where the rows are, how they are asked and which reward
scores them.

    name: parts
    data: parts.jsonl
    columns: {question: query, answer: label, images: [photo]}
    prompt: "{question}\\nAnswer with a number."
    scorer: {name: numeric, tolerance: 0.02}
    categories: kind
    aggregate: macro

With `columns.options` the questions are multiple choice. Parts, intervals, gate and report are
those of every other benchmark. A benchmark with code is a class of your own, `./mine.py:Mine`
(`evals.base` shows one).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from evals.accuracy import AccuracyBenchmark, cell_sums, group_means
from evals.asking.messages import one_turn
from evals.data.items import Item, ItemScore, PartName, Row, reference_texts, response_text, verdict
from evals.data.layout import HubData
from evals.scoring.stats import Floats
from rewards.base import SUPPLIED, RewardConfig, Rubric
from rewards.letters import LETTERS, choice_letter
from rl.config import ConfigFile, Section, build, load_config
from rl.core import Completion, ImageSource, Sample, Score
from rl.errors import ConfigError, DataError, EvalError, RewardError
from rl.plugins import did_you_mean, names

_SLOT = re.compile(r"\{(\w+)\}")
_OPEN_PROMPT = "{question}\nAnswer the question using a single word or phrase."
_MACRO_RULE = "The mean of the categories' mean scores; each question scores from 0 to 1."
_CHOICE_PROMPT = (
    "{question}\n{options}\nAnswer with the option's letter from the given choices directly."
)
# Names that a response row uses itself or that every reward is given: a data column of such a name
# is not copied for the scorer.
_RESERVED = {*SUPPLIED, "solution", "question", "category", "part", "response", "error", "options"}
_NUM_CHECKED = 200  # rows whose own references are scored when the data is opened


class ColumnsSection(Section):
    """The names of the data's columns.

    columns: {question: query, answer: label, images: [photo], options: choices}
    """

    question: str = Field("question", description="The question's text.")
    answer: str = Field(
        "answer",
        description="The reference: a text, a number, or a list of texts; of options the letter, "
        "the number (from 0) or the text.",
    )
    images: tuple[str, ...] = Field(
        ("image",),
        description="The image columns, the first of them required; [] for questions on text. "
        "`<image 1>` in a question marks the place of an image.",
    )
    options: str | tuple[str, ...] | None = Field(
        None, description="The options: one column that holds a list, or one column for each."
    )
    id: str | None = Field(None, description="The column that names a row; by default its number.")


class BenchmarkFile(Section):
    """The YAML file of a benchmark without code; the module docstring shows one."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="Its id in results.")
    data: str | None = Field(
        None, description="A file or folder, relative to this file; a recipe's `path` goes first."
    )
    columns: ColumnsSection = Field(
        ColumnsSection(), description="The names of the data's columns."
    )
    prompt: str | None = Field(
        None,
        description="The text asked; {question}, {options} and any column's name become values.",
    )
    scorer: RewardConfig | None = Field(
        None, description="The reward that scores an answer, in [0, 1]; `choice` for options."
    )
    categories: str | None = Field(None, description="The column by which scores are grouped.")
    aggregate: Literal["mean", "macro"] = Field(
        "mean", description="The mean of all scores, or of the categories' means."
    )
    max_new_tokens: int = Field(32, ge=1, description="The answers' length limit.")
    version: str = Field("1", description="Raise it when the data or the rule changes.")
    source: str | None = Field(None, description="Where the data is from.")
    licence: str | None = Field(None, description="The licence of the data.")

    @model_validator(mode="after")
    def _whole(self) -> BenchmarkFile:
        if self.scorer is None and self.columns.options is None:
            raise ValueError("give `scorer` (a reward's name), or `columns.options`")
        if self.aggregate == "macro" and self.categories is None:
            raise ValueError("aggregate: macro needs `categories`")
        return self


def yaml_benchmark(path: Path) -> YamlBenchmark:
    """The benchmark that a YAML file describes. Raises: ConfigError with file:line."""
    written = load_config(path)
    config = build(BenchmarkFile, written)
    if config.name in names("evals.benchmarks"):
        raise ConfigError(
            f"{config.name!r} is a built-in benchmark's name",
            where=written.where("name"),
            do="choose another name",
        )
    scorer = config.scorer or RewardConfig(name="choice")
    # Another scorer or average gives other scores, so the rule is part of the version.
    rule = f"{scorer.model_dump_json()} {config.aggregate}"
    listed = config.columns.options
    options = (listed,) if isinstance(listed, str) else tuple(listed or ())
    facts = {
        "id": config.name,
        "version": f"{config.version}-{hashlib.sha256(rule.encode()).hexdigest()[:8]}",
        "source": config.source or str(path),
        "licence": config.licence or "own",
        "columns": tuple(
            dict.fromkeys(
                [
                    config.columns.question,
                    config.columns.answer,
                    *config.columns.images[:1],
                    *options,
                ]
                + [name for name in (config.columns.id, config.categories) if name is not None]
            )
        ),
        "image_columns": config.columns.images,
        "question_column": config.columns.question,
        "max_new_tokens": config.max_new_tokens,
        "groups": {"categories": "category"} if config.categories is not None else {},
        "primary_rule": _MACRO_RULE
        if config.aggregate == "macro"
        else AccuracyBenchmark.primary_rule,
        "config": config,
        "folder": path.resolve().parent,
        "rubric": _rubric(scorer, path, written),
    }
    made: type[YamlBenchmark] = type("YamlBenchmark", (YamlBenchmark,), facts)
    return made()


def _rubric(scorer: RewardConfig, path: Path, written: ConfigFile) -> Rubric:
    try:
        return Rubric([scorer], path.resolve().parent)
    except ConfigError as error:
        raise error.at(written.where(f"scorer.{error.key}".rstrip("."))) from error


class YamlBenchmark(AccuracyBenchmark):
    """A benchmark whose class variables come from a YAML file.

    benchmark = yaml_benchmark(Path("cups.yaml"))  # prompt, scorer and columns from the file
    items = benchmark.load("counts.jsonl")         # then it is used as any other benchmark
    """

    hub_ids: ClassVar[dict[str, HubData]] = {}
    expected_rows: ClassVar[int] = 0
    profiles: ClassVar[tuple[str, ...]] = ("official",)
    examples: ClassVar[tuple[Row, ...]] = ()
    config: ClassVar[BenchmarkFile]
    folder: ClassVar[Path]
    rubric: ClassVar[Rubric]

    @property
    def default_path(self) -> str | None:
        """The file's own `data`, relative to the file."""
        return None if self.config.data is None else str(self.folder / self.config.data)

    def prompt(self, row: Row, profile: str) -> str:
        """The prompt with its slots filled. Raises: DataError for a slot that is no column."""
        values = {**row, "question": row[self.config.columns.question]}
        options = self.options(row)
        if options:
            lines = zip(LETTERS, options, strict=False)
            values["options"] = "\n".join(f"{letter}. {text}" for letter, text in lines)
        template = self.config.prompt or (_CHOICE_PROMPT if options else _OPEN_PROMPT)
        unknown = [name for name in _SLOT.findall(template) if name not in values]
        if unknown:
            raise DataError(
                f"prompt: {{{unknown[0]}}} is no column{did_you_mean(unknown[0], values)}",
                expected=", ".join(sorted(values)),
                do="fix the slot in the benchmark file's `prompt`",
            )
        return _SLOT.sub(lambda slot: str(values[slot[1]]), template)

    def options(self, row: Row) -> list[str]:
        """The texts of the options; a column that holds nothing is no option. Raises: DataError."""
        where = self.config.columns.options
        if where is None:
            return []
        texts = row[where] if isinstance(where, str) else [row[column] for column in where]
        if not isinstance(texts, Sequence) or isinstance(texts, str) or len(texts) > len(LETTERS):
            raise DataError(f"options are {texts!r}"[:200], expected="a list of at most 26 texts")
        return [str(option) for option in texts if option is not None]

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError where the answer is no text or number, or none of the options."""
        columns, options = self.config.columns, self.options(row)
        answer = row[columns.answer]
        references = _texts(answer)
        if options:
            references = [_letter(answer, options)]
        marks = {f"<image {place + 1}>": place for place in range(len(images))}
        if len(images) == 1:
            marks["<image>"] = 0
        name = row[columns.id] if columns.id is not None else f"{number:05d}"
        kept: dict[str, Any] = {
            argument.name: row[argument.name]
            for argument in self.rubric.rewards[0].arguments
            if argument.name in row and argument.name not in _RESERVED
        }
        if options:
            kept["options"] = options
        return one_turn(
            f"{self.id}-{name}",
            prompt,
            images,
            references,
            str(row[columns.question]),
            category=str(row[self.config.categories]) if self.config.categories else "all",
            marks=marks,
            **kept,
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
        """As for every benchmark. In addition the first references are scored as if they were
        answers: a scorer that gives all of them 0 cannot read this data. Raises: DataError,
        EvalError.
        """
        items = super().load(path, part, profile=profile, prompt=prompt, limit=limit)
        rows = [
            {
                **item.columns,
                "sample_id": item.sample.uid,
                "references": list(item.sample.references),
                "category": item.category,
                "question": item.question,
            }
            for item in items[:_NUM_CHECKED]
        ]
        gold = [self._own_score(row, item) for row, item in zip(rows, items, strict=False)]
        if gold and not any(gold):
            raise EvalError(
                f"scorer {self.rubric.labels[0]} gives no reference itself more than 0",
                where=f"benchmark {self.id}, {path}",
                expected="a scorer that reads such answers",
                do="choose another `scorer`, or fix the answers",
            )
        return items

    def _own_score(self, row: Row, item: Item) -> float | None:
        """The score of the row's own reference. Raises: DataError where the scorer cannot tell."""
        try:
            return self._score({**row, "response": self.gold(row)}).value
        except RewardError as error:
            raise DataError(
                f"scorer {self.rubric.labels[0]} {error.what}",
                where=item.place,
                expected=error.expected or "references that it reads",
                do="fix the row, or choose another `scorer`",
            ) from error

    def judge(self, row: Row, profile: str) -> ItemScore:
        """The scorer's verdict. Raises: EvalError for a score outside [0, 1]; what the scorer
        raises.
        """
        score = self._score(row)
        if score.value is None:
            return ItemScore(None, "error")
        if not 0 <= score.value <= 1:
            raise EvalError(
                f"scorer {self.rubric.labels[0]} gave {score.value}",
                where=f"{self.id} {row.get('sample_id', '?')}",
                expected="a score in [0, 1]",
                do="scale it in the function",
            )
        text = response_text(row, self.id)
        is_parsed = score.status not in ("unparsed", "refused")
        parsed = choice_letter(text) if self.config.columns.options else text.strip()
        return verdict(row, score.value, parsed if is_parsed else None, is_parsed=is_parsed)

    def _score(self, row: Row) -> Score:
        """The reward's verdict. Rewards score a sample and a completion, so the response row is
        made into these.
        """
        sample = Sample(
            uid=str(row.get("sample_id", "?")),
            messages=(),
            references=tuple(reference_texts(row, self.id)),
            meta={k: v for k, v in row.items() if k not in ("references", "response")},
        )
        text = response_text(row, self.id)
        return self.rubric.rewards[0](sample, Completion((), (), text, "stop"))

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """The mean score and each category's. With `macro` the accuracy is the mean of the
        categories' means, and `micro` the mean over all questions.
        """
        metrics = super().aggregate(rows, scores, profile)
        if self.config.aggregate == "macro":
            means = group_means(rows, scores, "category")
            metrics["micro"] = metrics["accuracy"]
            metrics["accuracy"] = sum(means.values()) / len(means) if means else None
        return metrics

    def layout(self, rows: Sequence[Row]) -> list[str]:
        """One cell, or with `macro` one for each category."""
        if self.config.aggregate == "mean":
            return ["all"]
        return sorted({str(row["category"]) for row in rows if row.get("category") is not None})

    def sums(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], layout: Sequence[str]
    ) -> tuple[list[str], Floats]:
        """A cluster's sum of scores and number of questions, cell by cell: [C, 2 x cells]."""
        is_mean = self.config.aggregate == "mean"
        numbers = {name: number for number, name in enumerate(layout)}
        cells = [0 if is_mean else numbers.get(str(row.get("category"))) for row in rows]
        return cell_sums(rows, scores, cells, len(layout))

    def statistic(self, totals: Floats) -> Floats:
        """The mean of the cells' means; a cell without a question in this resample is left out."""
        cells = totals.reshape(*totals.shape[:-1], -1, 2)
        means = cells[..., 0] / np.maximum(cells[..., 1], 1)
        is_there = cells[..., 1] > 0
        mean: Floats = (means * is_there).sum(axis=-1) / np.maximum(is_there.sum(axis=-1), 1)
        return mean


def _texts(answer: Any) -> list[str]:
    """The references as texts. Raises: DataError."""
    answers = answer if isinstance(answer, list) else [answer]
    if not answers or not all(isinstance(a, str | int | float) for a in answers):
        raise DataError(f"answer {answer!r}"[:200], expected="a text, a number or a list of texts")
    return [str(a) for a in answers]


def _letter(answer: Any, options: Sequence[str]) -> str:
    """The letter of a reference that is a letter, a number from 0, or an option's text. Raises:
    DataError.

    >>> _letter(1, ["red", "blue"]), _letter("b", ["red", "blue"]), _letter("blue", ["red", "blue"])
    ('B', 'B', 'B')
    """
    letters: Mapping[Any, str] = dict(zip(options, LETTERS, strict=False))
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return LETTERS[answer]
    if isinstance(answer, str) and answer.strip().upper() in LETTERS[: len(options)]:
        if len(answer.strip()) == 1:
            return answer.strip().upper()
    elif isinstance(answer, str) and answer in letters:
        return letters[answer]
    raise DataError(
        f"answer {answer!r}"[:200],
        expected=f"one of {', '.join(LETTERS[: len(options)])}, a number from 0, or an option",
    )
