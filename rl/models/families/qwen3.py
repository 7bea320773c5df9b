"""Text-only models with a Llama-like decoder: Qwen3, Qwen2 and Qwen2.5, Llama."""

from __future__ import annotations

from typing import Any, ClassVar

from rl.models.spec import ModelSpec


class Qwen3(ModelSpec):
    """No images; plain positions, and full or sliding-window attention."""

    name: ClassVar[str] = "qwen3"
    model_types: ClassVar[tuple[str, ...]] = ("qwen3", "qwen2", "llama")
    has_vision: ClassVar[bool] = False

    @staticmethod
    def limit_pixels(processor: Any, max_pixels: int) -> None:
        """A text-only model has no images to limit."""
