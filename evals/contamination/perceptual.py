"""Perceptual hashes: whether two image files show the same picture, though one was resized,
re-encoded, brightened or cropped a little.

A picture is shrunk to 32 x 32 grey pixels and transformed (DCT-II). Its 64 lowest frequencies
without the mean give one bit each: whether it is above their median. Copies differ in few of the 64
bits, other pictures in about 32. Pictures on one background share low frequencies too, so a near
hash only makes a candidate: `is_same` then compares small colour versions of the two, cell by cell.
docs/statistics.md measures which changes are recognised.
Source: Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions (2010), ch. 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Box = tuple[float, float, float, float]
MAX_DISTANCE = 7
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
# What a copy may have lost: boxes (left, top, right, bottom) of the whole picture.
CROPS: tuple[Box, ...] = (
    WHOLE,
    (0.025, 0.025, 0.975, 0.975),
    (0.05, 0.05, 0.95, 0.95),
    (0.0, 0.0, 0.9, 0.9),
    (0.1, 0.0, 1.0, 0.9),
    (0.0, 0.1, 0.9, 1.0),
    (0.1, 0.1, 1.0, 1.0),
    (0.1, 0.1, 0.9, 0.9),
)
_SIDE, _CELLS, _KEPT = 32, 12, 192
_FLAT = 3.0  # standard deviation of grey values below which a picture has no shape to compare
_SAME = 0.9  # least correlation of two pictures' cells, colour by colour
_WORST = 13.0  # of 255: most that one cell may differ, after the best gain and offset
_GAIN = (0.6, 1.6)
_FAR = 60.0  # most that one cell may differ before edges are moved
HOPE = 0.85  # least correlation with which it is worth while to move edges
# By how much of the width or height edges are moved inwards: anywhere, then close by.
_ANYWHERE = (0.0, 0.025, 0.05, 0.075, 0.1)
_CLOSE_BY = (-0.0125, 0.0125)


@dataclass(frozen=True)
class Small:
    """A picture reduced to at most 192 pixels a side, RGB."""

    pixels: Any  # a PIL image

    @classmethod
    def of(cls, image: Any) -> Small:
        """Of a PIL image in RGB."""
        from PIL import Image as Pillow

        size = (min(image.width, _KEPT), min(image.height, _KEPT))
        return cls(image.resize(size, Pillow.Resampling.BOX, reducing_gap=2.0))

    def cells(self, box: Box = WHOLE, size: int = _CELLS, mode: str = "RGB") -> NDArray[np.float64]:
        """A part of it (shares of width and height) on a grid of `size` x `size` cells."""
        from PIL import Image as Pillow

        width, height = self.pixels.size
        edges = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
        small = self.pixels.convert(mode).resize((size, size), Pillow.Resampling.BOX, box=edges)
        return np.asarray(small, dtype=np.float64)

    def hash(self, box: Box = WHOLE) -> int | None:
        """64 bits, or None for a picture of one colour."""
        grey_HW = self.cells(box, _SIDE, "L")
        if grey_HW.std() < _FLAT:
            return None
        cosines = _cosines()
        frequencies = (cosines @ grey_HW @ cosines.T)[_lowest()]
        bits = frequencies > np.median(frequencies)
        return int.from_bytes(np.packbits(bits).tobytes(), "big")


def is_same(cells: NDArray[np.float64], original: Small, box: Box = WHOLE) -> bool:
    """Whether a copy (its `cells()`) shows what lies in `original` at about this box: alike cell by
    cell, in shape and colour.

    The box's edges are moved until the two lie over one another best.
    """
    mine = centred(cells)
    best, edges = _unlike(mine, original.cells(box)), box
    if best[1] > _FAR:
        return False
    for edge in range(4):
        best, edges = _moved(mine, original, best, edges, edge, _ANYWHERE)
    if best[1] > 2.5 * _WORST:
        return False
    for edge in (0, 1, 2, 3, 0, 1, 2, 3):
        inward = edges[edge] if edge < 2 else 1 - edges[edge]
        shares = tuple(max(0.0, inward + step) for step in _CLOSE_BY)
        best, edges = _moved(mine, original, best, edges, edge, shares)
    return best[0] >= _SAME and best[1] <= _WORST


def _moved(
    mine: NDArray[np.float64],
    original: Small,
    best: tuple[float, float],
    edges: Box,
    edge: int,
    shares: tuple[float, ...],
) -> tuple[tuple[float, float], Box]:
    """The best of what was found and of one edge moved to each of `shares`."""
    for share in shares:
        inward = share if edge < 2 else 1 - share
        left, top, right, bottom = (inward if at == edge else old for at, old in enumerate(edges))
        found = _unlike(mine, original.cells((left, top, right, bottom)))
        if found[0] > best[0]:
            best, edges = found, (left, top, right, bottom)
    return best, edges


def centred(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours around their mean."""
    moved: NDArray[np.float64] = cells - cells.mean(axis=(0, 1))
    return moved


def _unlike(mine: NDArray[np.float64], cells: NDArray[np.float64]) -> tuple[float, float]:
    """(correlation, largest difference of one cell after the best gain)."""
    theirs = centred(cells)
    both, own = float((mine * theirs).sum()), float((theirs * theirs).sum())
    size = float(np.sqrt((mine * mine).sum() * own))
    if size == 0:
        return 0.0, float("inf")
    gain = min(max(both / own, _GAIN[0]), _GAIN[1])
    return both / size, float(np.abs(mine - gain * theirs).mean(axis=-1).max())


def near(queries: Hashes, known: Hashes, distance: int = MAX_DISTANCE) -> Iterator[tuple[int, int]]:
    """Every (query, known) index pair whose hashes differ in at most `distance` (7 or fewer) bits.

    Of four 16-bit quarters one differs in at most one bit then, so only hashes that share a
    quarter up to one flip are compared.
    """
    assert distance < 8, "the quarters guarantee no more"
    found: set[tuple[int, int]] = set()
    flips = np.array([0, *(1 << bit for bit in range(16))], dtype=np.uint64)
    for quarter in range(4):
        shift, mask = np.uint64(16 * quarter), np.uint64(0xFFFF)
        order = np.argsort((known >> shift) & mask, kind="stable")
        keys = ((known >> shift) & mask)[order]
        for flip in flips:
            wanted = ((queries >> shift) & mask) ^ flip
            first, last = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
            counts = last - first
            at_Q = np.repeat(np.arange(len(queries)), counts)
            offset = np.arange(len(at_Q)) - np.repeat(np.cumsum(counts) - counts, counts)
            other_Q = order[np.repeat(first, counts) + offset]
            close = np.bitwise_count(queries[at_Q] ^ known[other_Q]) <= distance
            found.update(zip(at_Q[close].tolist(), other_Q[close].tolist(), strict=True))
    yield from sorted(found)


@cache
def _cosines() -> NDArray[np.float64]:
    """The rows of DCT-II that the hash needs."""
    place = (np.arange(_SIDE) + 0.5) * np.pi / _SIDE
    return np.cos(np.arange(11)[:, None] * place)


@cache
def _lowest() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The 64 lowest frequencies by their sum, the mean left out."""
    pairs = sorted(
        ((u, v) for u in range(11) for v in range(11) if u + v), key=lambda p: (p[0] + p[1], p)
    )[:64]
    return np.array([u for u, _ in pairs]), np.array([v for _, v in pairs])
