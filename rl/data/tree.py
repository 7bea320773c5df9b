"""Trees: one trunk (the shared prompt with its images) and one or more branches (answers)."""

from __future__ import annotations

from dataclasses import dataclass

from rl.core import ImageSource


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One answer's tokens and what is known of it. Log-prob tuples hold one value a *trained*
    token, in order."""

    uid: str
    token_ids: tuple[int, ...]
    trained: tuple[bool, ...] | None = None  # None: every token is trained
    behavior_logps: tuple[float, ...] | None = None
    old_logps: tuple[float, ...] | None = None
    reference_logps: tuple[float, ...] | None = None
    reward: float | None = None  # None: unscored
    advantage: float | None = None
    label: bool | None = None  # chosen / desirable
    is_truncated: bool = False

    @property
    def num_trained(self) -> int:
        """How many of the branch's tokens carry loss."""
        return len(self.token_ids) if self.trained is None else sum(self.trained)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A trunk and its branches. `trunk_ids` hold image placeholders expanded; `images` fill
    them in order.

    Trained trunk tokens (earlier assistant turns) count as the first branch's. `mismatched` is
    KTO's y': another prompt's
    answer, scored in `prepare` only.
    """

    uid: str
    trunk_ids: tuple[int, ...]
    images: tuple[ImageSource, ...] = ()
    branches: tuple[Branch, ...] = ()
    trunk_trained: tuple[bool, ...] | None = None  # None: no trunk token is trained
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
