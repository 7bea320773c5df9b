"""Trees: one prompt (the trunk, with its images) and the answers to it (the branches).

A branch is one answer, which TRL and vLLM call a completion. The prompt and its images run through
the model once for all branches of a tree. What is known of a branch beside its tokens is kept in
`Branch.columns`, under any name: the loss reads the same names with `TreeBatch.column`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rl.core import Image, ImageSource, Message, Rollout, Sample, Score
from rl.errors import DataError

# One number or boolean for the branch, or a tuple with one entry a trained token.
ColumnValue = float | bool | tuple[float, ...] | tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One answer: its tokens, and what is known of them.

    uid: names the answer in errors, `<sample uid>/<number>`.
    token_ids: the answer's tokens, the end token included.
    trained: which of the tokens carry loss; None: all of them.
    reward: of a sampled answer; None: unscored.
    is_truncated: whether the length limit ended a sampled answer.
    columns: what the loss may read. A number or a boolean belongs to the branch; a tuple holds one
        entry a *trained* token, in order (trained tokens of the trunk count as the first branch's
        and come first). An algorithm may add columns of its own. These names have a meaning
        already:
            behavior_logps: log-probs under which the engine sampled the tokens.
            old_logps: the learner's log-probs before the first update on these tokens.
            reference_logps: the reference's log-probs.
            advantage: how much better the answer is than the baseline.
            label: chosen (of a pair) or desirable (of a labelled answer).

    >>> branch = Branch(uid="a/0", token_ids=(7, 8), columns={"label": True})
    >>> branch.with_columns(reference_logps=(-0.5, -0.25)).reference_logps
    (-0.5, -0.25)
    """

    uid: str
    token_ids: tuple[int, ...]
    trained: tuple[bool, ...] | None = None
    reward: float | None = None
    is_truncated: bool = False
    columns: Mapping[str, ColumnValue] = field(default_factory=dict, hash=False)

    @property
    def num_trained(self) -> int:
        """How many of the branch's tokens carry loss."""
        return len(self.token_ids) if self.trained is None else sum(self.trained)

    def with_columns(self, **columns: ColumnValue) -> Branch:
        """The branch with these columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    @property
    def behavior_logps(self) -> tuple[float, ...] | None:
        """The column of that name, or None."""
        return self._numbers("behavior_logps")

    @property
    def old_logps(self) -> tuple[float, ...] | None:
        """The column of that name, or None."""
        return self._numbers("old_logps")

    @property
    def reference_logps(self) -> tuple[float, ...] | None:
        """The column of that name, or None."""
        return self._numbers("reference_logps")

    @property
    def advantage(self) -> float | None:
        """The column of that name, or None."""
        value = self.columns.get("advantage")
        assert not isinstance(value, tuple), "an advantage is one number an answer"
        return value

    @property
    def label(self) -> bool | None:
        """The column of that name, or None."""
        value = self.columns.get("label")
        return None if value is None else bool(value)

    def _numbers(self, name: str) -> tuple[float, ...] | None:
        value = self.columns.get(name)
        assert value is None or isinstance(value, tuple), f"{name} has one entry a trained token"
        return value


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A prompt and its answers.

    uid: the sample's.
    trunk_ids: the prompt's tokens, each image placeholder repeated to its image's length.
    images: the prompt's images, in the order of their placeholders.
    branches: one for each answer.
    trunk_trained: which prompt tokens carry loss (earlier assistant turns); None: none. They count
        as the first branch's.
    is_pair: whether the branches are a chosen and a rejected answer.
    mismatched: another prompt's answer, which `prepare` may score under this prompt and image; it
        never gets a gradient.

    >>> answers = (Branch(uid="a/0", token_ids=(7, 8)), Branch(uid="a/1", token_ids=(9,)))
    >>> tree = Tree(uid="a", trunk_ids=(1, 2, 3), branches=answers)
    >>> tree.num_tokens, tree.num_trained
    (6, 3)
    """

    uid: str
    trunk_ids: tuple[int, ...]
    images: tuple[ImageSource, ...] = ()
    branches: tuple[Branch, ...] = ()
    trunk_trained: tuple[bool, ...] | None = None
    is_pair: bool = False
    mismatched: Branch | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens of the tree in a row: the trunk once, and every branch."""
        return len(self.trunk_ids) + sum(len(branch.token_ids) for branch in self.branches)

    @property
    def num_trained(self) -> int:
        """Trained tokens of trunk and branches."""
        trunk = sum(self.trunk_trained) if self.trunk_trained is not None else 0
        return trunk + sum(branch.num_trained for branch in self.branches)

    def with_column(self, name: str, values: Sequence[ColumnValue]) -> Tree:
        """The tree with one column added to its branches, one value each.

        >>> answers = (Branch(uid="a/0", token_ids=(7,)), Branch(uid="a/1", token_ids=(9,)))
        >>> tree = Tree(uid="a", trunk_ids=(1,), branches=answers)
        >>> [branch.advantage for branch in tree.with_column("advantage", [0.5, -0.5]).branches]
        [0.5, -0.5]
        """
        branches = tuple(
            branch.with_columns(**{name: value})
            for branch, value in zip(self.branches, values, strict=True)
        )
        return replace(self, branches=branches)


def rollout_tree(rollout: Rollout, scores: Sequence[Score] | None = None) -> Tree:
    """Sampled answers as a tree. Every token id is the one that the engine returned: nothing is
    decoded and tokenised again.

    scores: one for each completion; without them the rewards are None.

    Raises: DataError where the prompt marks more images than the sample has.
    """
    completions, sample = rollout.completions, rollout.sample
    rewards = [None] * len(completions) if scores is None else [score.value for score in scores]
    branches = tuple(
        Branch(
            uid=f"{sample.uid}/{number}",
            token_ids=completion.token_ids,
            reward=reward,
            is_truncated=completion.is_truncated,
            columns={"behavior_logps": completion.behavior_logps},
        )
        for number, (completion, reward) in enumerate(zip(completions, rewards, strict=True))
    )
    return Tree(
        uid=sample.uid,
        trunk_ids=rollout.prompt_token_ids,
        images=images_in_order(sample, prompt_messages(sample)),
        branches=branches,
    )


def prompt_messages(sample: Sample) -> tuple[Message, ...]:
    """The messages before the answer: without a last assistant turn."""
    messages = sample.messages
    return messages[:-1] if messages and messages[-1].role == "assistant" else messages


def images_in_order(sample: Sample, messages: Sequence[Message]) -> tuple[ImageSource, ...]:
    """The images of these messages, in the order of their marks.

    Raises: DataError where a mark has no image.
    """
    marks = [part.index for m in messages for part in m.parts if isinstance(part, Image)]
    if any(index >= len(sample.images) for index in marks):
        raise DataError(
            f"{len(marks)} image marks, {len(sample.images)} images",
            where=sample.uid,
            expected="one image a mark",
            do="make marks and images as many",
        )
    return tuple(sample.images[index] for index in marks)
