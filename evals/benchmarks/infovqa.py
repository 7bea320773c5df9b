"""InfographicVQA: questions about infographics, many of which ask to count or compare.

Source: arXiv 2104.12756.

Licence: for research, see the website of the competition.

Data: `lmms-lab/DocVQA`, configuration InfographicVQA, split validation, 2801 rows (the test answers
are hidden).

One row:

    {"questionId": "98313", "question": "Which social platform has heavy female audience?",
     "answers": ["pinterest"], "answer_type": ["single span"], "image": ..., "image_url": ...,
     "operation/reasoning": [], "ocr": ..., "data_split": "val"}

Prompt, rule and score are those of DocVQA (ANLS).
"""

from __future__ import annotations

from typing import ClassVar

from evals.benchmarks.docvqa import DocVQA
from evals.data.items import Row
from evals.data.layout import HubData, lmms_lab


class InfoVQA(DocVQA):
    """InfographicVQA: mean ANLS."""

    id: ClassVar[str] = "infovqa"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://www.docvqa.org/datasets/infographicvqa"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab(
        "DocVQA", HubData("validation", ("InfographicVQA",))
    )
    expected_rows: ClassVar[int] = 2801
    kind_column: ClassVar[str] = "answer_type"
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "questionId": "98313",
            "question": "Which social platform has heavy female audience?",
            "answers": ["pinterest"],
            "answer_type": ["single span"],
            "image_url": "https://example.org/98313.jpeg",
            "data_split": "val",
        },
    )
