"""A planned micro-batch as tensors of one forward pass: token ids, attention mask, positions and
images.

A row of the model's input holds one or several trees, one after another; what a row holds of one
tree is a *lane* (`rl/data/pack.py`): the trunk (the prompt), then the branches (the answers). Three
things make a lane equal to separate rows of prompt and answer, to rounding:

- attention: a token sees earlier tokens of its own lane that are in the trunk or in its own branch;
- positions: every branch continues from the end of the trunk, as if the other branches were not
  there;
- the first token of every branch is predicted at the last token of the trunk.

Shapes: R rows, T tokens of a row, N trained tokens of the micro-batch, A position axes (1, or 3
where a model has positions in time, height and width).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
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

Inputs = dict[str, Tensor]  # one image's (or several images') arguments of the vision tower

# -- images


class ImageStore:
    """The vision inputs of images, kept by the hash of the image file, so that an image that comes
    again is not decoded and resized again. Beyond `max_bytes` the least recently used are dropped.

        store = ImageStore(spec)
        [inputs] = store.get([ImageSource(path="cat.png")])   # {"pixel_values": ..., ...}
    """

    def __init__(self, spec: ModelSpec, max_bytes: int = 512 * 2**20) -> None:
        self.spec, self.max_bytes = spec, max_bytes
        self._kept: OrderedDict[str, Inputs] = OrderedDict()
        self.bytes = 0

    @cached_property
    def blank(self) -> Inputs:
        """A white image's inputs."""
        return self.spec.pixels([PIL.Image.new("RGB", (64, 64), "white")])[0]

    def get(self, images: Sequence[ImageSource]) -> list[Inputs]:
        """The inputs of each image, in the order given.

        Raises: DataError for an image that does not decode.
        """
        missing = {i.sha256: i for i in images if i.sha256 not in self._kept}
        fresh: dict[str, Inputs] = {}
        if missing:
            made = self.spec.pixels([open_image(image) for image in missing.values()])
            # Cloned: a view of the batch's tensor would keep the whole batch in memory.
            fresh = {
                key: {name: value.clone() for name, value in inputs.items()}
                for key, inputs in zip(missing, made, strict=True)
            }
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


def _size(inputs: Inputs) -> int:
    return sum(value.nbytes for value in inputs.values())


# -- micro-batches


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
    """The tensors of one micro-batch.

    trees: the trees of the whole step; `plan` says which of them are in this micro-batch.
    layout: `tree` or `rows`, as the plan was made for.
    dtype: of the attention mask: that of the model.
    finds_positions: leaves the positions to the model itself (rows layout only). A check of ours.
    never_without_image: a micro-batch without images carries a blank one that no token sees. Where
        several ranks share a vision tower (ZeRO-3), all of them have to run it or none.

    Raises: DataError for an image that does not decode, or a first token that is to be trained.
    """
    order, images, images_of = _images(trees, plan, store)
    if images is None and never_without_image:
        images = store.blank
    rows = _lay_out(trees, plan, spec, images_of)
    own: dict[str, Any] = {}
    if finds_positions:
        assert layout == "rows", "a model finds positions of plain rows only"
        own = spec.own_position_inputs(rows.ids_RT, images, order)
    positions = rows.positions_ART[0] if len(rows.positions_ART) == 1 else rows.positions_ART
    return MicroBatch(
        input_ids=rows.ids_RT,
        attention=_attention(rows, spec, layout, dtype),
        positions=None if finds_positions else positions,
        images=images,
        image_order=order,
        own_positions=own,
        **_trained(trees, plan, rows.ids_RT),
    )


def _images(
    trees: Sequence[Tree], plan: Plan, store: ImageStore
) -> tuple[tuple[int, ...], Inputs | None, dict[int, list[Inputs]]]:
    """(which distinct image fills each run of placeholders, the distinct images' inputs joined,
    the inputs of each tree's images)."""
    lanes = [lane for row in plan.rows for lane in row]
    distinct = {image.sha256: image for lane in lanes for image in trees[lane.tree].images}
    if not distinct:
        return (), None, {}
    inputs = dict(zip(distinct, store.get(list(distinct.values())), strict=True))
    number = {key: i for i, key in enumerate(distinct)}
    order = tuple(number[image.sha256] for lane in lanes for image in trees[lane.tree].images)
    first = next(iter(inputs.values()))
    joined = {name: torch.cat([value[name] for value in inputs.values()]) for name in first}
    images_of = {lane.tree: [inputs[i.sha256] for i in trees[lane.tree].images] for lane in lanes}
    return order, joined, images_of


@dataclass(frozen=True)
class _Rows:
    """The rows of a micro-batch, token by token.

    lane_RT: which lane of its row a token belongs to; -1: padding.
    branch_RT: 0 for the trunk, else the branch's number within its tree + 1.
    depth_RT: how many tokens come before it on its own path (trunk, then its branch).
    """

    ids_RT: Tensor
    lane_RT: Tensor
    branch_RT: Tensor
    depth_RT: Tensor
    positions_ART: Tensor


def _lay_out(
    trees: Sequence[Tree], plan: Plan, spec: ModelSpec, images_of: Mapping[int, list[Inputs]]
) -> _Rows:
    shape = plan.shape
    ids_RT = np.full(shape, spec.end_id, dtype=np.int64)
    lane_RT = np.full(shape, -1, dtype=np.int64)
    branch_RT = np.zeros(shape, dtype=np.int64)
    depth_RT = np.zeros(shape, dtype=np.int64)
    # In rows layout several lanes repeat one trunk: its positions are computed once.
    trunk_positions = {
        index: spec.positions(trees[index].trunk_ids, images_of.get(index, [])).numpy()
        for index in dict.fromkeys(lane.tree for row in plan.rows for lane in row)
    }
    num_axes = len(next(iter(trunk_positions.values())))
    positions_ART = np.zeros((num_axes, *shape), dtype=np.int64)
    for number, row in enumerate(plan.rows):
        at = 0
        for lane_number, lane in enumerate(row):
            tree, trunk_AL = trees[lane.tree], trunk_positions[lane.tree]
            start, at = at, at + len(tree.trunk_ids)
            ids_RT[number, start:at] = tree.trunk_ids
            depth_RT[number, start:at] = np.arange(at - start)
            positions_ART[:, number, start:at] = trunk_AL
            # Every branch starts one after the *largest* position of the trunk. That is not the
            # trunk's length: an image of many tokens takes up only as many positions as its longer
            # side.
            depth, position = at - start, int(trunk_AL.max()) + 1
            for place in lane.branches:
                tokens = tree.branches[place].token_ids
                here = slice(at, at + len(tokens))
                counted = np.arange(len(tokens))
                ids_RT[number, here] = tokens
                branch_RT[number, here] = place + 1
                depth_RT[number, here] = depth + counted
                positions_ART[:, number, here] = position + counted
                at += len(tokens)
            lane_RT[number, start:at] = lane_number
    return _Rows(
        ids_RT=torch.from_numpy(ids_RT),
        lane_RT=torch.from_numpy(lane_RT),
        branch_RT=torch.from_numpy(branch_RT),
        depth_RT=torch.from_numpy(depth_RT),
        positions_ART=torch.from_numpy(positions_ART),
    )


def _attention(rows: _Rows, spec: ModelSpec, layout: Layout, dtype: torch.dtype) -> Any:
    """Rows layout: which tokens are no padding, [R, T]. Tree layout: which token sees which, as the
    family wants it."""
    if layout == "rows":
        return (rows.lane_RT >= 0).long()
    lane, branch = rows.lane_RT, rows.branch_RT
    width = lane.shape[1]
    is_before = torch.ones(width, width, dtype=torch.bool).tril()
    # [R, T, 1] against [R, 1, T]: the token that looks against the token that is looked at.
    same_lane = lane[:, :, None] == lane[:, None, :]
    on_path = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    return spec.attention(is_before & same_lane & on_path, rows.depth_RT, dtype)


def _trained(trees: Sequence[Tree], plan: Plan, ids_RT: Tensor) -> dict[str, Any]:
    """The fields of `MicroBatch` about trained tokens, in the order of branches. Trained tokens of
    a trunk come first in its tree's first branch."""
    places = list(_branch_starts(trees, plan))
    branches = [trees[tree].branches[place] for tree, place, _, _ in places]
    trunk_start_B = np.array([at for _, _, at, _ in places])
    start_B = np.array([at for _, _, _, at in places])
    length_B = np.array([len(branch.token_ids) for branch in branches])
    trunk_B = np.array([len(trees[tree].trunk_ids) for tree, _, _, _ in places])

    # All tokens of all branches: the branch of each, and its place in the branch.
    branch_N = np.repeat(np.arange(len(branches)), length_B)
    place_N = np.arange(len(branch_N)) - np.repeat(length_B.cumsum() - length_B, length_B)
    index_N = start_B[branch_N] + place_N
    # A token is predicted one place before it; the first of a branch at the end of the trunk, which
    # in the row is further away where other branches lie between.
    last_of_trunk_B = trunk_start_B + trunk_B - 1
    predict_N = np.where(place_N == 0, last_of_trunk_B[branch_N], index_N - 1)
    if any(branch.trained is not None for branch in branches):
        is_trained_N = np.concatenate(
            [
                np.ones(len(b.token_ids), bool) if b.trained is None else np.array(b.trained, bool)
                for b in branches
            ]
        )
        branch_N, index_N, predict_N = (
            values[is_trained_N] for values in (branch_N, index_N, predict_N)
        )
    for number, (tree_index, place, trunk_start, _) in enumerate(places):
        tree = trees[tree_index]
        if place != 0 or tree.trunk_trained is None:
            continue
        wanted = np.flatnonzero(tree.trunk_trained)
        if len(wanted) and wanted[0] == 0:
            raise DataError("the first token cannot be trained", where=f"tree {tree.uid}")
        first = int(np.searchsorted(branch_N, number))  # before the branch's own tokens
        branch_N = np.insert(branch_N, first, np.full(len(wanted), number))
        index_N = np.insert(index_N, first, trunk_start + wanted)
        predict_N = np.insert(predict_N, first, trunk_start + wanted - 1)
    owners = tuple((tree, place) for tree, place, _, _ in places)
    pairs = {tree: n for n, tree in enumerate(dict.fromkeys(t for t, _ in owners))}
    return {
        "predict_N": torch.from_numpy(predict_N),
        "target_N": ids_RT.flatten()[torch.from_numpy(index_N)],
        "branch_N": torch.from_numpy(branch_N),
        "branches": tuple(branches),
        "owners": owners,
        "pair_B": tuple(pairs[t] if trees[t].is_pair else -1 for t, _ in owners),
    }


def _branch_starts(trees: Sequence[Tree], plan: Plan) -> Iterator[tuple[int, int, int, int]]:
    """(tree, branch, index of the trunk's first token, index of the branch's first token) of every
    branch, row by row. Indices are into the R * T tokens of the micro-batch laid end to end."""
    _, width = plan.shape
    for number, row in enumerate(plan.rows):
        at = number * width
        for lane in row:
            trunk_start = at
            at += len(trees[lane.tree].trunk_ids)
            for place in lane.branches:
                yield lane.tree, place, trunk_start, at
                at += len(trees[lane.tree].branches[place].token_ids)
