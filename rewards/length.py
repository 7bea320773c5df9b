"""A penalty for answers that run long."""

from collections.abc import Sequence

from rewards.base import reward


@reward(name="length")
def length(token_ids: Sequence[int], max_tokens: int, buffer: int = 0) -> float:
    """0.0 up to `max_tokens - buffer` tokens; from there it falls linearly to -1.0 at `max_tokens`,
    and stays -1.0 beyond.

    Source: soft overlong punishment, arXiv 2503.14476 eq. 13.

    >>> [length([0] * num_tokens, max_tokens=8, buffer=4) for num_tokens in (4, 6, 8, 9)]
    [0.0, -0.5, -1.0, -1.0]
    """
    num_tokens = len(token_ids)
    if num_tokens <= max_tokens - buffer:
        return 0.0
    if num_tokens > max_tokens:
        return -1.0
    return (max_tokens - buffer - num_tokens) / buffer
