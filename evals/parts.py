"""The two parts of a benchmark's questions, disjoint by image: `select` is what decisions read,
`report` what the leaderboard shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rl.errors import DataError

if TYPE_CHECKING:
    from evals.base import Item, PartName

_SELECT_SHARE = 1 / 3


def split_parts(items: Sequence[Item]) -> list[PartName]:
    """Each item's part: about a third of the clusters, by hash, is `select`. Items that share any
    image share the part.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for item in items:
        for image in item.sample.images:
            low, high = sorted((root(item.sample.images[0].sha256), root(image.sha256)))
            parent[high] = low
    return [
        part_of(root(item.sample.images[0].sha256) if item.sample.images else item.cluster_id)
        for item in items
    ]


def part_of(cluster_id: str) -> PartName:
    """The part of a cluster, by a hash of its id: about a third are `select`."""
    return "select" if hash_share("part", cluster_id) < _SELECT_SHARE else "report"


def hash_share(*names: str) -> float:
    """A fixed number in [0, 1) for these names, spread evenly."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def require_disjoint(items: Sequence[Item], path: str) -> None:
    """Raises: DataError where the parts share an image, or a sample id stands twice."""
    parts: dict[str, PartName] = {}
    uids: set[str] = set()
    for item in items:
        for image in {item.cluster_id, *(image.sha256 for image in item.sample.images)}:
            if parts.setdefault(image, item.part) != item.part:
                raise DataError(
                    f"{'image' if item.sample.images else 'question'} {image[:12]} is in select "
                    "and in report",
                    where=path,
                    expected="parts disjoint by image",
                )
        if item.sample.uid in uids:
            raise DataError(f"sample id {item.sample.uid!r} stands twice", where=path)
        uids.add(item.sample.uid)
