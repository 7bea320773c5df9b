"""What is trained beside a model's own weights: adapters such as LoRA, or nothing.

Only the second exists so far: `Adapter` itself, with which the model's own weights are trained. The
learner and `rl.learners.weights.Weights` go through its four methods, so that a kind of adapter is
one subclass and changes neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Adapter:
    """No adapter: every method hands on what it was given. A kind of adapter overrides all four.

    The learner's calls, in their order:

        adapter = Adapter()
        model = adapter.wrap(load_model(path))        # before an optimizer sees the parameters
        weights = Weights(model, whole, adapter)      # publish and save ask `merged` for each block

        start = adapter.wrap(load_model(checkpoint))  # a stage begins: its weights are copied over
        adapter.reset()
        frozen = adapter.reference(start)             # only where the stage needs a reference
    """

    def wrap(self, model: Any) -> Any:
        """The model with the adapter's own parameters in it, the only ones that are trained.

        Every model that the learner loads is wrapped, so that two of them have the same names.
        """
        return model

    def merged(self, block: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of one block of the model, as a model without the adapter has them.

        `block` holds all tensors of a decoder layer, of a block of the vision tower, or of what is
        outside of both, under the wrapped model's names. The trained tensors stay as they are: an
        adapter merges into copies. On the meta device only names and shapes are asked for.
        """
        return dict(block)

    def reference(self, start: Any) -> Any:
        """The frozen model whose log-probs are the stage's reference.

        `start` is the model as the stage began. Without an adapter the trained weights move away
        from it, so that a second model is held. An adapter that leaves the base untouched can give
        the trained model with itself switched off.
        """
        return start.requires_grad_(False)

    def reset(self) -> None:
        """A stage begins: what the adapter keeps for the length of a stage is forgotten.

        Called after the stage's weights are in the model.
        """
