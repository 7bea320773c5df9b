"""A sample stage: draws answers of its parent and writes them as rows for offline algorithms."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from recipes.schema.stage import Stage, rows_of
from rewards.base import RewardConfig
from rl.config import Section
from rl.data.sources import DataSource

if TYPE_CHECKING:
    from rl.data.rows import Reading


class SampleSection(Section):
    """How a sample stage draws answers, and how it makes pairs and labels of them."""

    n: int = Field(8, ge=2, description="Answers to each prompt.")
    rewards: tuple[RewardConfig, ...] = Field(
        description="What scores the answers: a pair is a higher and a lower score."
    )
    temperature: float = Field(1.0, gt=0, description="Sampling temperature.")
    max_new_tokens: int | None = Field(
        None, ge=1, description="Longest answer in tokens; by default `rollout.max_new_tokens`."
    )
    num_heldout: int = Field(0, ge=0, description="Pairs kept out of training, to measure on.")
    label_threshold: float = Field(
        0.5, description="Scores of at least this are labelled desirable."
    )

    @classmethod
    def explain_unknown(cls, key: str) -> str:
        """Says how `heldout`, the key of earlier versions, is called now."""
        if key != "heldout":
            return super().explain_unknown(key)
        return (
            "unknown key. Write num_heldout, a number of pairs; `heldout` is a key of training "
            "stages, which names a sample stage"
        )


class SampleStage(Stage):
    """A stage that draws the model's own answers and writes preference pairs and labelled answers.

    name: pairs
    from: sft
    sample: {n: 8, rewards: [exact], num_heldout: 500}
    data: [{path: data/rl.jsonl}]
    """

    kind: ClassVar[str] = "sample"
    called: ClassVar[str] = "a sample stage"
    marker: ClassVar[str] = "sample"
    limits: ClassVar[str] = "trains nothing"
    writes_rows: ClassVar[bool] = True
    rewards_key: ClassVar[str] = "sample.rewards"

    sample: SampleSection = Field(description="How answers are drawn; its keys are below.")
    data: tuple[DataSource, ...] = Field(
        min_length=1, description="Where prompts with references come from."
    )
    prompts_per_step: int = Field(
        32, ge=1, description="Prompts that the engines are given at once."
    )

    @property
    def reading(self) -> Reading:
        """How rows are read: as prompts with references."""
        return "group"

    @property
    def reward_configs(self) -> tuple[RewardConfig, ...]:
        """The rewards that score answers."""
        return self.sample.rewards

    @property
    def answers_per_prompt(self) -> int:
        """How many answers are sampled for one prompt."""
        return self.sample.n

    def row_stages(self) -> dict[str, str]:
        """The sample stages whose rows this one reads."""
        return rows_of(self.data)
