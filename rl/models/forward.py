"""Log-probs of the trained tokens of a micro-batch: the module that every learner trains.

Shapes: R rows, T columns (tokens of a row), D width of the model, N trained tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rl.batch import MicroBatch
from rl.models.spec import ModelSpec

CHUNK_ELEMENTS = 2**24  # logits of one chunk: 64 MiB in float32


class TreeForward(nn.Module):
    """Wraps a model with its head; `forward` returns float32 log-probs [N].

    The logits [N, V] of a large vocabulary would need more memory than the model's other
    activations. They are computed in chunks of at most `chunk_elements`, and the backward pass
    computes each chunk again.

        forward = TreeForward(load_model(path), spec)
        logp_N = forward(batch, temperature=1.0, banned_ids=spec.banned_ids)
        loss = -logp_N.mean()

    DeepSpeed wraps this module, and not the model in it: at ZeRO-3 the model's own submodules then
    gather their weights as they run.
    """

    def __init__(
        self, model: Any, spec: ModelSpec, *, chunk_elements: int = CHUNK_ELEMENTS
    ) -> None:
        super().__init__()
        self.model, self.spec, self.chunk_elements = model, spec, chunk_elements

    def forward(
        self, batch: MicroBatch, temperature: float = 1.0, banned_ids: tuple[int, ...] = ()
    ) -> Tensor:
        """Log-probs [N] of `batch.target_N` under softmax(logits / temperature) without the banned
        ids. Each target is predicted from the hidden state at `batch.predict_N` in the flattened
        rows: the token before it on its own path.
        """
        hidden_RTD = self.hidden_states(batch)
        hidden_ND = hidden_RTD.flatten(0, 1)[batch.predict_N]
        if not len(hidden_ND):  # empty, but backward still reaches every parameter (with zeros)
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
        """The last layer's output [R, T, D]. The vision tower runs once for each distinct image."""
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
        # An image that no row shows (see Passes.never_without_image): 0 times its features keeps
        # the tower in the graph, so that its gradients are zero and not missing.
        return hidden if batch.image_order or seen is None else hidden + 0 * _sum(seen)

    def _chunk(
        self, hidden_ND: Tensor, target_N: Tensor, temperature: float, banned: Tensor
    ) -> Tensor:
        logits_NV = self.model.get_output_embeddings()(hidden_ND).float() / temperature
        if len(banned):
            logits_NV = logits_NV.index_fill(1, banned, float("-inf"))
        return -nn.functional.cross_entropy(logits_NV, target_N, reduction="none")


def _sum(features: Any) -> Tensor:
    """The sum of all features of an image, those of inner layers too, as a scalar. In float32:
    float16 would overflow, and 0 times infinity is not 0.
    """
    levels = [features.pooler_output, *(getattr(features, "deepstack_features", None) or [])]
    return torch.stack(
        [torch.stack([part.float().sum() for part in level]).sum() for level in levels]
    ).sum()
