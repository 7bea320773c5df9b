"""HumanEval: Python functions from their docstrings, run against unit tests in a sandbox.

Source: arXiv 2107.03374; the completion rules of EleutherAI/lm-evaluation-harness@4e7e0d47f33b,
lm_eval/tasks/humaneval.

Licence: MIT.

Data: `openai/openai_humaneval`, split test, 164 rows.

One row:

    {"task_id": "HumanEval/0", "prompt": "def add(a: int, b: int) -> int:\\n    ...docstring...\\n",
     "canonical_solution": "    return a + b\\n", "entry_point": "add",
     "test": "def check(candidate):\\n    assert candidate(2, 3) == 5\\n"}

Rules: the program is the prompt and what the response adds to it (`solution` below). `official`
continues the prompt up to the first fence or one of the harness's stop strings. `flexible` takes
the first fenced block where there is one, as chat models write a whole function.

Score: pass@1 of one greedy answer. Scoring runs the model's code, and only in
`evals.sandbox.runner`: where no sandbox can be made, scoring is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import cluster_of, user_message
from evals.data.items import Item, ItemScore, PartName, Row, response_text, verdict
from evals.data.layout import HubData
from evals.sandbox.runner import require, run
from rl.core import ImageSource, Sample
from rl.errors import DataError

_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
_FENCE = "```"
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_KEPT = ("prompt", "test", "entry_point")


class HumanEval(AccuracyBenchmark):
    """HumanEval: the share of programs that pass their tests (pass@1)."""

    id: ClassVar[str] = "humaneval"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/openai/human-eval"
    licence: ClassVar[str] = "MIT"
    hub_ids: ClassVar[dict[str, HubData]] = {"openai/openai_humaneval": HubData("test")}
    expected_rows: ClassVar[int] = 164
    columns: ClassVar[tuple[str, ...]] = (
        *("task_id", "prompt", "canonical_solution"),
        *("test", "entry_point"),
    )
    image_columns: ClassVar[tuple[str, ...]] = ()
    question_column: ClassVar[str] = "prompt"
    max_new_tokens: ClassVar[int] = 1024
    profiles: ClassVar[tuple[str, ...]] = ("official", "flexible")
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "task_id": "HumanEval/0",
            "prompt": 'def add(a: int, b: int) -> int:\n    """The sum."""\n    # add',
            "canonical_solution": "\n    return a + b\n",
            "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n",
            "entry_point": "add",
        },
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
        """As `Benchmark.load`. Raises: DataError; EvalError where no sandbox can be made, before
        any question is asked.
        """
        require()
        return super().load(path, part, profile=profile, prompt=prompt, limit=limit)

    def prompt(self, row: Row, profile: str) -> str:
        """The function's head; `flexible` asks a chat model for the whole function."""
        head = str(row["prompt"])
        if profile != "flexible":
            return head
        return (
            "Write a solution to the following problem and make sure that it passes the tests:\n"
            f"{_FENCE}python\n{head}\n{_FENCE}\n"
        )

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """The reference is the canonical solution."""
        sample = Sample(
            uid=f"humaneval-{str(row['task_id']).rpartition('/')[2]}",
            messages=(user_message(prompt, ()),),
            references=(str(row["canonical_solution"]),),
        )
        question = str(row["prompt"])
        columns: dict[str, Any] = {key: str(row[key]) for key in _KEPT}
        return Item(sample, question, cluster_of((), question), "all", "report", columns)

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the tests pass in the sandbox. Raises: DataError; EvalError where no sandbox can
        be made.
        """
        missing = [key for key in _KEPT if not isinstance(row.get(key), str)]
        if missing:
            raise DataError(
                f"no {', '.join(missing)}",
                where=f"humaneval {row.get('sample_id', '?')}",
                expected=f"texts in {', '.join(_KEPT)}",
                do="keep the data's own columns in the response rows",
            )
        program = solution(str(row["prompt"]), response_text(row, self.id), profile)
        passed = run(f"{program}\n{row['test']}\ncheck({row['entry_point']})\n")
        return verdict(row, float(passed), "passed" if passed else "failed")


def solution(prompt: str, text: str, profile: str) -> str:
    """The program to run: the prompt, continued or replaced by the response.

    >>> solution("def f():\\n", "    return 1\\ndef g(): pass", "official")
    'def f():\\n    return 1'
    """
    if profile == "flexible" and (block := _BLOCK.search(text)):
        code = block[1]
        # A block that defines the whole function may lack the prompt's imports. The prompt goes
        # first, its function filled with `pass`, and the block then defines the function again.
        return f"{prompt}\n    pass\n{code}" if re.search(r"^def ", code, re.M) else prompt + code
    text = text.partition(_FENCE)[0]
    ends = [end for stop in _STOPS if (end := text.find(stop)) >= 0]
    return prompt + text[: min(ends, default=len(text))]
