"""The two parts of a benchmark's questions, disjoint by image: `select` is what decisions read,
`report` what the leaderboard shows; and the fixed subsets of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from evals.data.items import Item, PartName
from rl.errors import DataError

_SELECT_SHARE = 1 / 3


def with_mates(items: Sequence[Item], ties: Sequence[str]) -> list[Item]:
    """The items, those that lack their image in the cluster of the first item of the same tie ("":
    none): questions that are scored together stay together.
    """
    clusters: dict[str, str] = {}
    for item, tie in zip(items, ties, strict=True):
        if tie and not item.problem:
            clusters.setdefault(tie, item.cluster_id)
    return [
        replace(item, cluster_id=clusters[tie]) if item.problem and tie in clusters else item
        for item, tie in zip(items, ties, strict=True)
    ]


def split_parts(items: Sequence[Item]) -> list[PartName]:
    """Each item's part: about a third of the clusters, by hash, is `select`. Items that share any
    image share the part.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    named = [[i.sha256 for i in item.sample.images] or [item.cluster_id] for item in items]
    for images in named:
        for image in images:
            low, high = sorted((root(images[0]), root(image)))
            parent[high] = low
    return [part_of(root(images[0])) for images in named]


def take(items: Sequence[Item], limit: int) -> list[Item]:
    """At most `limit` items of each part, whole images, stratified by category, in the order given.

    Images of a category are ranked by hash and taken at the same pace in every category, so a
    smaller limit is a subset of a larger one. Raises: DataError where a part's first image has more
    questions than that (a smaller one in its place would break the nesting).
    """
    kept: set[str] = set()
    for part in dict.fromkeys(item.part for item in items):
        groups: dict[tuple[str, str], list[Item]] = {}
        for item in items:
            if item.part == part:
                groups.setdefault((item.category, item.cluster_id), []).append(item)
        by_category: dict[str, list[tuple[float, tuple[str, str]]]] = {}
        for key in groups:
            by_category.setdefault(key[0], []).append((hash_share("limit", *key), key))
        paced = sorted(
            ((rank + 0.5) / len(ranked), share, key)
            for ranked in map(sorted, by_category.values())
            for rank, (share, key) in enumerate(ranked)
        )
        if (needed := len(groups[paced[0][2]])) > limit:
            raise DataError(
                f"limit {limit} leaves the {part} part without a question",
                where=items[0].origin or "take",
                expected=f"{needed} or more: its first image has {needed} questions",
                do=f"raise limit (--limit) to {needed}",
            )
        left = limit
        for _, _, key in paced:
            left -= len(groups[key])
            if left < 0:
                break
            kept.update(item.sample.uid for item in groups[key])
    return [item for item in items if item.sample.uid in kept]


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
    places: dict[str, str] = {}
    for item in items:
        for image in {item.cluster_id, *(image.sha256 for image in item.sample.images)}:
            if parts.setdefault(image, item.part) != item.part:
                raise DataError(
                    f"{'image' if item.sample.images else 'question'} {image[:12]} is in select "
                    "and in report",
                    where=path,
                    expected="parts disjoint by image",
                    do="put all questions about it into one of the two files",
                )
        if item.sample.uid in places:
            raise DataError(
                f"id {item.sample.uid!r} stands in {places[item.sample.uid] or 'another row'} too",
                where=item.place or path,
                expected="an id for each row",
                do="mend the row's id, or take another column for it (`columns.id` of a page)",
            )
        places[item.sample.uid] = item.place
