"""IFEval: instructions whose fulfilment a program can check.

Source: arXiv 2311.07911; EleutherAI/lm-evaluation-harness@4e7e0d47f33b, lm_eval/tasks/ifeval. The
checks are in `rewards/instructions.py`, which says where they depart (sentences, capital words,
languages).

Licence: Apache 2.0.

Data: `google/IFEval`, split train, 541 rows.

One row:

    {"key": 1000, "prompt": "Write a 300+ word summary of ... Do not use any commas.",
     "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
     "kwargs": [{}, {"relation": "at least", "num_words": 300}]}

Rules: a prompt is right when all its instructions are followed. `official` is the strict rule.
`flexible` is the loose one: it is enough that one of eight versions of the answer follows them
(without its first line, its last line, its asterisks).

Score: the share of right prompts by the profile's rule. Shares of prompts and of single
instructions are reported by both rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import cluster_of, user_message
from evals.data.items import Item, ItemScore, Row, response_text, verdict
from evals.data.layout import HubData
from rewards.instructions import CHECKS, follow_all
from rl.core import ImageSource, Sample
from rl.errors import DataError

_RULES = {"strict": False, "loose": True}  # whether the rule is the loose one


class IFEval(AccuracyBenchmark):
    """IFEval: the share of prompts with all instructions followed."""

    id: ClassVar[str] = "ifeval"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/google-research/google-research"
    licence: ClassVar[str] = "Apache 2.0"
    hub_ids: ClassVar[dict[str, HubData]] = {"google/IFEval": HubData("train")}
    expected_rows: ClassVar[int] = 541
    columns: ClassVar[tuple[str, ...]] = ("key", "prompt", "instruction_id_list", "kwargs")
    image_columns: ClassVar[tuple[str, ...]] = ()
    question_column: ClassVar[str] = "prompt"
    max_new_tokens: ClassVar[int] = 1280
    profiles: ClassVar[tuple[str, ...]] = ("official", "flexible")
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "key": 1000,
            "prompt": "Say in English and in small letters what this is. Use no commas.",
            "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"],
            "kwargs": [{"num_words": None}, {"num_words": None}],
        },
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The row's own prompt."""
        return str(row["prompt"])

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError for an unknown instruction, or arguments that do not pair with them."""
        names, arguments = list(row["instruction_id_list"]), list(row["kwargs"])
        unknown = [name for name in names if name not in CHECKS]
        if unknown:
            raise DataError(
                f"unknown instruction {unknown[0]!r}", expected=f"one of {', '.join(CHECKS)}"
            )
        if not names or len(names) != len(arguments):
            raise DataError(
                f"{len(names)} in instruction_id_list and {len(arguments)} in kwargs",
                expected="an instruction or more, one set of arguments each",
            )
        given = [
            {key: value for key, value in (one or {}).items() if value is not None}
            for one in arguments
        ]
        sample = Sample(f"ifeval-{number:05d}", (user_message(prompt, ()),))
        columns = {"key": row["key"], "instruction_id_list": names, "kwargs": given}
        question, category = str(row["prompt"]), names[0].partition(":")[0]
        return Item(sample, question, cluster_of((), question), category, "report", columns)

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where every instruction is followed; `parsed` is the share. Raises: DataError."""
        text = response_text(row, self.id)
        by_rule = [_followed(row, text, is_loose=is_loose) for is_loose in _RULES.values()]
        followed = by_rule[profile == "flexible"]
        found = verdict(row, float(all(followed)), sum(followed) / len(followed))
        # The tally that `aggregate` reads: for each rule whether all instructions are followed and
        # how many are, then how many instructions there are.
        counts = [float(count) for one in by_rule for count in (all(one), sum(one))]
        return replace(found, tally=(*counts, float(len(followed))))

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """Accuracy by the profile's rule, and the shares of prompts and of instructions by both."""
        metrics = super().aggregate(rows, scores, profile)
        tallies = [score.tally for score in scores if score.score is not None]
        num_instructions = sum(tally[-1] for tally in tallies)
        for at, rule in enumerate(_RULES):
            prompts, instructions = (sum(tally[2 * at + i] for tally in tallies) for i in (0, 1))
            metrics[f"prompt_{rule}"] = prompts / len(tallies) if tallies else None
            metrics[f"instruction_{rule}"] = (
                instructions / num_instructions if num_instructions else None
            )
        return metrics

    def gold(self, row: Row) -> str:
        """There are no reference answers; this sentence follows the instructions of `examples`."""
        return "this is the answer to it in small letters"

    def is_parsed(self, score: ItemScore) -> bool:
        """True: every text can be checked, so none is unparsed."""
        return True


def _followed(row: Row, text: str, *, is_loose: bool) -> list[bool]:
    """Whether each instruction of the row is followed. Raises: DataError for a row without them."""
    names, arguments = row.get("instruction_id_list"), row.get("kwargs")
    where = f"ifeval {row.get('sample_id', '?')}"
    if not _is_list(names) or not _is_list(arguments) or not names:
        missing = "kwargs" if _is_list(names) and names else "instruction_id_list"
        raise DataError(
            f"{missing} is {row.get(missing)!r}"[:200],
            where=where,
            expected="a list, an entry for each instruction",
            do="keep the data's own columns in the response rows",
        )
    try:
        given = [one if isinstance(one, Mapping) else {} for one in arguments or ()]
        return follow_all(text, list(names), given, is_loose=is_loose)
    except ValueError as error:
        raise DataError(
            str(error), where=where, expected="instructions and arguments as in google/IFEval"
        ) from error


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
