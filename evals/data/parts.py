"""The two parts of a benchmark's questions, and fixed subsets of them (`limit`).

Decisions (the gate, `best`) read `select`; the leaderboard and the report show `report`. A model
that was chosen by its score on some questions looks better on them than it is, so no question and
no image is in both parts.

Every choice is made by a hash of names and never at random, so it is the same in every run and on
every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from evals.data.items import Item, PartName
from rl.errors import DataError

_SELECT_SHARE = 1 / 3


def with_mates(items: Sequence[Item], ties: Sequence[str]) -> list[Item]:
    """Puts an item that lacks its image into the cluster of the first item with the same tie (""
    is no tie). Without an image it would have a cluster of its own, perhaps in the other part, and
    questions that are scored together would be separated.
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
    """Each item's part: about a third of the images, by hash, is `select`.

    Items that share any image are in the same part, also along a chain: an item with images a and b
    ties all items about a to all items about b. (`root` finds the smallest name of such a group, by
    a union-find.)
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
    """At most `limit` items of each part, in the order given: whole images, the same share of every
    category.

    The images of a category are ranked by hash, and the image of rank r of n gets the place (r +
    1/2) / n. Images are taken in the order of their places over all categories, until the limit is
    reached. So every category gets its share, and a smaller limit is a subset of a larger one.

    Raises: DataError where the first image of a part has more questions than `limit`. (Taking a
    smaller image in its place would break the nesting.)
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
                f"limit {limit:,} leaves the {part} part without a question",
                where=items[0].origin or "take",
                expected=f"{needed:,} or more: its first image has {needed:,} questions",
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
    """A fixed number in [0, 1) for these names, spread evenly.

    >>> hash_share("part", "a") == hash_share("part", "a") != hash_share("part", "b")
    True
    """
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def require_disjoint(items: Sequence[Item], path: str) -> None:
    """Raises: DataError where the parts share an image, or two items have one id."""
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
                f"id {item.sample.uid!r} is in {places[item.sample.uid] or 'another row'} too",
                where=item.place or path,
                expected="an id for each row",
                do="fix the row's id, or name another column for it (`columns.id` in mine.yaml)",
            )
        places[item.sample.uid] = item.place
