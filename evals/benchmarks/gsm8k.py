"""GSM8K: grade-school word problems whose answer is a number.

Source: arXiv 2110.14168; EleutherAI/lm-evaluation-harness@4e7e0d47f33b, lm_eval/tasks/gsm8k.

Licence: MIT.

Data: `openai/gsm8k`, configuration main, split test, 1319 rows. The first five rows of split train
are the worked examples (the harness draws five at random).

One row:

    {"question": "Janet's ducks lay 16 eggs per day. ... How much does she make every day?",
     "answer": "Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day.\\n... \\n#### 18"}

Rules (`rewards/gsm8k.py`): `official` takes the first number after "#### ", `flexible` the last
number. Both must equal the reference after ",", "$" and a final "." are dropped.

Score: the share of right answers by the profile's rule; both shares are reported.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np

from evals.accuracy import AccuracyBenchmark
from evals.asking.fewshot import FewShotBenchmark
from evals.asking.messages import cluster_of, user_message
from evals.data.items import Item, ItemScore, Row, reference_texts, response_text, verdict
from evals.data.layout import HubData
from rewards.gsm8k import gsm8k_answer, gsm8k_is_right
from rl.core import ImageSource, Sample
from rl.errors import DataError

_ZERO_SHOT = "Reason step by step, then give the answer on a last line of its own as: #### <number>"
_RULES: dict[str, Literal["strict", "flexible"]] = {"official": "strict", "flexible": "flexible"}


class GSM8K(FewShotBenchmark, AccuracyBenchmark):
    """GSM8K: the share of right answers, by the strict rule unless the profile is `flexible`."""

    id: ClassVar[str] = "gsm8k"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/openai/grade-school-math"
    licence: ClassVar[str] = "MIT"
    hub_ids: ClassVar[dict[str, HubData]] = {"openai/gsm8k": HubData("test", ("main",))}
    expected_rows: ClassVar[int] = 1319
    columns: ClassVar[tuple[str, ...]] = ("question", "answer")
    max_new_tokens: ClassVar[int] = 512
    primary_name: ClassVar[str] = "strict"
    primary_rule: ClassVar[str] = (
        "The share of problems whose final number is right; strict reads it after ####, "
        "flexible takes the last number."
    )
    profiles: ClassVar[tuple[str, ...]] = ("official", "flexible")
    shot_split: ClassVar[str] = "train"
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "question": "Ann has 1,000 eggs and sells 200. How many are left?",
            "answer": "1000 - 200 = <<1000-200=800>>800 eggs are left.\n#### 800",
        },
    )

    def for_profile(self, profile: str) -> GSM8K:
        """This benchmark with the profile's rule as its primary statistic."""
        chosen = copy.copy(self)
        chosen.primary_name = _RULES[profile]  # type: ignore[misc]
        return chosen

    def shot(self, row: Row) -> str:
        return f"Question: {row['question']}\nAnswer: {row['answer']}"

    def prompt(self, row: Row, profile: str) -> str:
        """The worked examples and the question; without examples an instruction comes first."""
        question = f"Question: {row['question']}\nAnswer:"
        return "\n\n".join([*(self.shots(row) or [_ZERO_SHOT]), question])

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError for an answer without "#### "."""
        question, answer = str(row["question"]), str(row["answer"])
        if "#### " not in answer:
            raise DataError(f"answer {answer!r}"[:200], expected='"... #### <number>"')
        sample = Sample(
            uid=f"gsm8k-{number:05d}",
            messages=(user_message(prompt, ()),),
            references=(answer,),
        )
        columns = {"num_shots": len(self.shots(row))}
        return Item(sample, question, cluster_of((), question), "all", "report", columns)

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the number read is the reference's. Raises: DataError."""
        text, reference = response_text(row, self.id), reference_texts(row, self.id)[0]
        answers = {name: gsm8k_answer(text, rule) for name, rule in _RULES.items()}
        right = {name: float(gsm8k_is_right(answers[name], reference)) for name in _RULES}
        answer = answers[profile]
        found = verdict(row, right[profile], answer, is_parsed=answer is not None)
        return replace(found, tally=tuple(right.values()))

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """The shares of right answers by both rules."""
        tallies = [score.tally for score in scores if score.score is not None]
        return {
            rule: float(np.mean([tally[at] for tally in tallies])) if tallies else None
            for at, rule in enumerate(_RULES.values())
        }

    def is_parsed(self, score: ItemScore) -> bool:
        """Whether a number was read."""
        return score.parsed is not None
