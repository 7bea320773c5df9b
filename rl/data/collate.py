"""A planned micro-batch as tensors: ids, masks, positions and images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from rl.batch import MicroBatch
from rl.core import ImageSource
from rl.data.images import open_image
from rl.data.pack import Plan
from rl.data.tree import Tree
from rl.errors import DataError
from rl.models.spec import Layout, ModelSpec

# -- images


class ImageStore:
    """Vision inputs of images, kept by content: the least recently used go first beyond
    `max_bytes`.
    """

    def __init__(self, spec: ModelSpec, max_bytes: int = 512 * 2**20) -> None:
        self.spec, self.max_bytes = spec, max_bytes
        self._kept: OrderedDict[str, dict[str, Tensor]] = OrderedDict()
        self.bytes = 0

    @cached_property
    def blank(self) -> dict[str, Tensor]:
        """A white image's inputs."""
        return self.spec.pixels([PIL.Image.new("RGB", (64, 64), "white")])[0]

    def get(self, images: Sequence[ImageSource]) -> list[dict[str, Tensor]]:
        """One dict of tensors an image. Raises: DataError for an image that does not decode."""
        missing = {i.sha256: i for i in images if i.sha256 not in self._kept}
        fresh: dict[str, dict[str, Tensor]] = {}
        if missing:
            made = self.spec.pixels([open_image(image) for image in missing.values()])
            fresh = {key: _detached(fields) for key, fields in zip(missing, made, strict=True)}
        found = [fresh.get(i.sha256) or self._kept[i.sha256] for i in images]
        for key in dict.fromkeys(image.sha256 for image in images):
            if key in fresh:
                self._kept[key] = fresh[key]
                self.bytes += _size(fresh[key])
            self._kept.move_to_end(key)
        while self.bytes > self.max_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self.bytes -= _size(dropped)
        return found


def _detached(fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with storage of their own: a view would keep its whole batch in memory."""
    return {name: value.clone() for name, value in fields.items()}


def _size(fields: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in fields.values())


# -- micro-batches


@dataclass
class _Page:
    """The token tensors of a micro-batch while rows are laid out, and what the trained tokens
    need.
    """

    ids_RT: Tensor
    lane_RT: Tensor  # which lane a token belongs to; -1: padding
    branch_RT: Tensor  # 0: trunk, else branch number + 1 within its lane
    depth_RT: Tensor  # predecessors on the token's own path
    positions_ART: Tensor


def collate(
    trees: Sequence[Tree],
    plan: Plan,
    spec: ModelSpec,
    store: ImageStore,
    *,
    layout: Layout,
    dtype: torch.dtype = torch.float32,
    finds_positions: bool = False,
    never_without_image: bool = False,
) -> MicroBatch:
    """The tensors of one micro-batch. `finds_positions`: leave positions to the model itself
    (rows only, a check). `never_without_image`: a batch without images carries a blank one that
    no token sees, so that the vision tower runs (and gets its zero gradient) where other ranks
    run theirs.
    """
    order, fields, each = _images(trees, plan, store)
    if fields is None and never_without_image:
        fields = store.blank
    page = _lay_out(trees, plan, spec, each)
    own: dict[str, Any] = {}
    if finds_positions:
        assert layout == "rows", "a model finds positions of plain rows only"
        own = spec.own_position_inputs(page.ids_RT, fields, order)
    positions = page.positions_ART[0] if len(page.positions_ART) == 1 else page.positions_ART
    return MicroBatch(
        input_ids=page.ids_RT,
        attention=_attention(page, spec, layout, dtype),
        positions=None if finds_positions else positions,
        images=fields,
        image_order=order,
        own_positions=own,
        **_trained(trees, plan),
    )


def _images(
    trees: Sequence[Tree], plan: Plan, store: ImageStore
) -> tuple[tuple[int, ...], dict[str, Tensor] | None, dict[int, list[dict[str, Tensor]]]]:
    """Placeholder runs -> distinct images, their joined inputs, and the inputs tree by tree."""
    lanes = [lane for row in plan.rows for lane in row]
    distinct = {image.sha256: image for lane in lanes for image in trees[lane.tree].images}
    if not distinct:
        return (), None, {}
    inputs = dict(zip(distinct, store.get(list(distinct.values())), strict=True))
    number = {key: i for i, key in enumerate(distinct)}
    order = tuple(number[image.sha256] for lane in lanes for image in trees[lane.tree].images)
    first = next(iter(inputs.values()))
    fields = {name: torch.cat([value[name] for value in inputs.values()]) for name in first}
    each = {lane.tree: [inputs[i.sha256] for i in trees[lane.tree].images] for lane in lanes}
    return order, fields, each


def _lay_out(
    trees: Sequence[Tree],
    plan: Plan,
    spec: ModelSpec,
    images: Mapping[int, list[dict[str, Tensor]]],
) -> _Page:
    _, width = plan.shape
    ids, lanes, branches, depths = [], [], [], []
    positions: list[Tensor] = []
    trunks = {
        index: spec.positions(trees[index].trunk_ids, images.get(index, []))
        for index in {lane.tree for row in plan.rows for lane in row}
    }
    for row in plan.rows:
        row_ids: list[int] = []
        row_lanes: list[int] = []
        row_branches: list[int] = []
        row_depths: list[int] = []
        pieces: list[Tensor] = []
        for number, lane in enumerate(row):
            tree, trunk_positions = trees[lane.tree], trunks[lane.tree]
            trunk = len(tree.trunk_ids)
            after = int(trunk_positions.max()) + 1
            row_ids += tree.trunk_ids
            row_branches += [0] * trunk
            row_depths += range(trunk)
            steps: list[int] = []
            for place in lane.branches:
                tokens = tree.branches[place].token_ids
                row_ids += tokens
                row_branches += [place + 1] * len(tokens)
                row_depths += range(trunk, trunk + len(tokens))
                steps += range(after, after + len(tokens))
            row_lanes += [number] * lane.length
            pieces += [trunk_positions, torch.tensor(steps).expand(len(trunk_positions), -1)]
        padding = width - len(row_ids)
        ids.append(row_ids + [spec.end_id] * padding)
        lanes.append(row_lanes + [-1] * padding)
        branches.append(row_branches + [0] * padding)
        depths.append(row_depths + [0] * padding)
        joined = torch.cat(pieces, 1)
        positions.append(torch.nn.functional.pad(joined, (0, padding)))
    return _Page(
        ids_RT=torch.tensor(ids),
        lane_RT=torch.tensor(lanes),
        branch_RT=torch.tensor(branches),
        depth_RT=torch.tensor(depths),
        positions_ART=torch.stack(positions, 1).long(),
    )


def _attention(page: _Page, spec: ModelSpec, layout: Layout, dtype: torch.dtype) -> Any:
    if layout == "rows":
        return (page.lane_RT >= 0).long()
    lane, branch = page.lane_RT, page.branch_RT
    width = lane.shape[1]
    is_before = torch.ones(width, width, dtype=torch.bool).tril()
    same_lane = lane[:, :, None] == lane[:, None, :]
    on_path = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    return spec.attention(is_before & same_lane & on_path, page.depth_RT, dtype)


def _trained(trees: Sequence[Tree], plan: Plan) -> dict[str, Any]:
    """Where the trained tokens are predicted, in the order of branches; trunk ones lead the
    first branch.
    """
    width = plan.shape[1]
    predict: list[int] = []
    target: list[int] = []
    branch_of: list[int] = []
    owners: list[tuple[int, int]] = []
    for tree_index, place, trunk_start, start in _branch_starts(trees, plan, width):
        tree = trees[tree_index]
        branch = tree.branches[place]
        number = len(owners)
        owners.append((tree_index, place))
        if place == 0 and tree.trunk_trained is not None:
            wanted = [i for i, is_trained in enumerate(tree.trunk_trained) if is_trained]
            if wanted and wanted[0] == 0:
                raise DataError("the first token cannot be trained", where=f"tree {tree.uid}")
            predict += [trunk_start + i - 1 for i in wanted]
            target += [tree.trunk_ids[i] for i in wanted]
            branch_of += [number] * len(wanted)
        last_of_trunk = trunk_start + len(tree.trunk_ids) - 1
        for i, token in enumerate(branch.token_ids):
            if branch.trained is None or branch.trained[i]:
                predict.append(start + i - 1 if i else last_of_trunk)
                target.append(token)
                branch_of.append(number)
    pairs = {tree: n for n, tree in enumerate(dict.fromkeys(t for t, _ in owners))}
    return {
        "predict_N": torch.tensor(predict, dtype=torch.long),
        "target_N": torch.tensor(target, dtype=torch.long),
        "branch_N": torch.tensor(branch_of, dtype=torch.long),
        "branches": tuple(trees[t].branches[b] for t, b in owners),
        "owners": tuple(owners),
        "pair_B": tuple(pairs[t] if trees[t].is_pair else -1 for t, _ in owners),
    }


def _branch_starts(
    trees: Sequence[Tree], plan: Plan, width: int
) -> Iterator[tuple[int, int, int, int]]:
    """(tree, branch, flat index of its trunk, flat index of the branch), row by row."""
    for number, row in enumerate(plan.rows):
        at = number * width
        for lane in row:
            trunk_start = at
            at += len(trees[lane.tree].trunk_ids)
            for place in lane.branches:
                yield lane.tree, place, trunk_start, at
                at += len(trees[lane.tree].branches[place].token_ids)
