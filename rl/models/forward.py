"""Log-probs of the trained tokens of a micro-batch: the module that every learner trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rl.batch import MicroBatch
from rl.models.spec import ModelSpec

CHUNK_ELEMENTS = 2**24  # logits of one chunk: 64 MiB in float32


class TreeForward(nn.Module):
    """Wraps a model with its head; `forward` gives float32 log-probs [N] and never a whole [N,
    V] of logits.

    It stands inside the engine's wrapper, so that partitioned weights (ZeRO-3) are gathered by
    its own modules.
    """

    def __init__(
        self, model: Any, spec: ModelSpec, *, chunk_elements: int = CHUNK_ELEMENTS
    ) -> None:
        super().__init__()
        self.model, self.spec, self.chunk_elements = model, spec, chunk_elements

    def forward(
        self, batch: MicroBatch, temperature: float = 1.0, banned_ids: tuple[int, ...] = ()
    ) -> Tensor:
        """Log-probs of `target_N` under softmax(logits / temperature) without the banned ids:
        [N].
        """
        hidden_RTD = self.hidden_states(batch)
        hidden_ND = hidden_RTD.flatten(0, 1)[batch.predict_N]
        if not len(hidden_ND):  # nothing to train: a differentiable nothing
            return hidden_RTD.flatten()[:0].float() + 0 * hidden_RTD.float().sum()
        vocab = int(self.spec.text_config["vocab_size"])
        size = max(1, self.chunk_elements // vocab)
        banned = torch.tensor(banned_ids, device=hidden_ND.device, dtype=torch.long)
        pieces = []
        for hidden, target in zip(
            torch.split(hidden_ND, size), torch.split(batch.target_N, size), strict=True
        ):
            inputs = (hidden, target, temperature, banned)
            if hidden.requires_grad and len(hidden_ND) > size:
                pieces.append(checkpoint(self._chunk, *inputs, use_reentrant=False))
            else:
                pieces.append(self._chunk(*inputs))
        return torch.cat(pieces)

    def hidden_states(self, batch: MicroBatch) -> Tensor:
        """The last layer's output: [R, T, D]. The vision tower runs once a distinct image."""
        base = self.model.model
        inputs: dict[str, Any] = dict(batch.own_positions)
        if batch.positions is not None:
            inputs["position_ids"] = batch.positions
        seen = None
        if batch.images is not None:
            seen = self.spec.encode_images(base, batch.images, batch.image_order or (0,))
            if batch.image_order:
                inputs["mm_encoder_outputs"] = {"image": seen}
        hidden: Tensor = base(
            input_ids=batch.input_ids, attention_mask=batch.attention, use_cache=False, **inputs
        ).last_hidden_state
        return hidden if batch.image_order or seen is None else hidden + 0 * _sum(seen)

    def _chunk(
        self, hidden_ND: Tensor, target_N: Tensor, temperature: float, banned: Tensor
    ) -> Tensor:
        logits_NV = self.model.get_output_embeddings()(hidden_ND).float() / temperature
        if len(banned):
            logits_NV = logits_NV.index_fill(1, banned, float("-inf"))
        return -nn.functional.cross_entropy(logits_NV, target_N, reduction="none")


def _sum(features: Any) -> Tensor:
    """Every feature of an image summed in float32 (float16 would overflow), those of inner layers
    too: a thread for a zero gradient.
    """
    levels = [features.pooler_output, *(getattr(features, "deepstack_features", None) or [])]
    return torch.stack(
        [torch.stack([part.float().sum() for part in level]).sum() for level in levels]
    ).sum()
