"""Columns and images of a micro-batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.data.collate import ImageStore, collate
from rl.data.pack import Plan, pack
from rl.data.tree import Branch, Tree
from rl.errors import DataError
from rl.models.spec import Layout, ModelSpec
from tests.rl.models.trees import picture, small


def test_columns_follow_the_branches(tiny_qwen3: Path) -> None:
    model = small(tiny_qwen3)
    chosen = Branch(
        uid="c", token_ids=(40, 41), columns={"label": True, "reference_logps": (-1.0, -2.0, -3.0)}
    )
    rejected = Branch(
        uid="r",
        token_ids=(42, 43),
        trained=(False, True),
        columns={"label": False, "reference_logps": (-4.0,)},
    )
    pair = Tree(
        uid="p",
        trunk_ids=(30, 31, 32),
        trunk_trained=(False, True, False),
        branches=(chosen, rejected),
        is_pair=True,
    )
    [batch] = model.batches([pair])
    assert batch.input_ids.tolist() == [[30, 31, 32, 40, 41, 42, 43]]
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 3, 4]]
    assert batch.target_N.tolist() == [31, 40, 41, 43]
    assert batch.predict_N.tolist() == [0, 2, 3, 5]
    assert batch.branch_N.tolist() == [0, 0, 0, 1]
    sees = batch.attention[0, 0] == 0
    assert sees[6].tolist() == [True, True, True, False, False, True, True]
    tree_batch = batch.tree_batch(torch.zeros(4))
    assert tree_batch.reference_logp_N.tolist() == [-1, -2, -3, -4]
    assert tree_batch.label_B.tolist() == [True, False]
    assert tree_batch.pair_B is not None
    assert tree_batch.pair_B.tolist() == [0, 0]
    assert set(tree_batch.columns) == {"label", "reference_logps"}


def test_a_column_that_only_some_branches_have_is_an_error(tiny_qwen3: Path) -> None:
    model = small(tiny_qwen3)
    tree = model.tree(1)
    first = tree.branches[0].with_columns(advantage=1.0)
    [batch] = model.batches([replace(tree, branches=(first, *tree.branches[1:]))])
    with pytest.raises(DataError, match="no advantage"):
        batch.tree_batch(torch.zeros(len(batch.target_N)))


def test_the_first_token_has_no_predictor(tiny_qwen3: Path) -> None:
    tree = replace(small(tiny_qwen3).tree(1), trunk_ids=(30, 31), trunk_trained=(True, False))
    with pytest.raises(DataError, match="first token"):
        small(tiny_qwen3).batches([tree])


def test_images_are_kept_by_content_up_to_a_limit(tiny_qwen3vl: Path) -> None:
    spec = small(tiny_qwen3vl).spec
    pictures = [picture(64, 64, seed) for seed in range(5)]
    [one] = ImageStore(spec).get(pictures[:1])
    room = sum(value.nbytes for value in one.values())
    store = ImageStore(spec, max_bytes=3 * room)
    first = store.get(pictures)
    assert store.bytes == 3 * room
    again = store.get([*pictures[::-1], pictures[0]])
    for a, b in zip(first[::-1], again, strict=False):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert store.get([pictures[0]])[0] is store.get([pictures[0]])[0]


def by_token(
    trees: list[Tree], plan: Plan, spec: ModelSpec, store: ImageStore
) -> dict[str, list[Any]]:
    """The same fields token by token, as one would write them down."""
    _, width = plan.shape
    found: dict[str, list[Any]] = {
        name: [] for name in ("ids", "sees", "positions", "predict", "target", "branch")
    }
    number = 0
    for row_number, row in enumerate(plan.rows):
        tokens: list[tuple[int, int, int, int, list[int]]] = []  # id, lane, branch, depth, position
        for lane_number, lane in enumerate(row):
            tree, start = trees[lane.tree], len(tokens)
            axes = spec.positions(tree.trunk_ids, store.get(tree.images)).T.tolist()
            for depth, (token, position) in enumerate(zip(tree.trunk_ids, axes, strict=True)):
                tokens.append((token, lane_number, 0, depth, position))
            after = max(max(position) for position in axes) + 1
            at = row_number * width + start
            for place in lane.branches:
                branch = tree.branches[place]
                wanted = [i for i, t in enumerate(tree.trunk_trained or ()) if t]
                for i in wanted if place == 0 else []:
                    found["predict"].append(at + i - 1)
                    found["target"].append(tree.trunk_ids[i])
                    found["branch"].append(number)
                last = at + len(tree.trunk_ids) - 1
                for i, token in enumerate(branch.token_ids):
                    if branch.trained is None or branch.trained[i]:
                        here = row_number * width + len(tokens) - 1
                        found["predict"].append(here if i else last)
                        found["target"].append(token)
                        found["branch"].append(number)
                    depth = len(tree.trunk_ids) + i
                    position = [after + i] * len(axes[0])
                    tokens.append((token, lane_number, place + 1, depth, position))
                number += 1
        padding = width - len(tokens)
        tokens += [(spec.end_id, -1, 0, 0, [0] * len(tokens[0][4]))] * padding
        found["ids"].append([token for token, *_ in tokens])
        found["positions"].append([position for *_, position in tokens])
        found["sees"].append(
            [
                [j <= i and a[1] == b[1] and b[2] in (0, a[2]) for j, b in enumerate(tokens)]
                for i, a in enumerate(tokens)
            ]
        )
    return found


@pytest.mark.parametrize("family", ["tiny_qwen3vl", "tiny_llava", "tiny_qwen3"])
@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_a_micro_batch_is_what_its_trees_are_token_by_token(
    request: pytest.FixtureRequest, family: str, layout: Layout
) -> None:
    model = small(request.getfixturevalue(family))
    for seed in range(8):
        count = None if model.spec.has_vision else 0
        trees = [
            model.tree(10 * seed + i, branches=1 + (seed + i) % 4, images=count) for i in range(5)
        ]
        first = trees[0].branches[0]
        masked = replace(first, trained=tuple(i % 2 == 0 for i in range(len(first.token_ids))))
        trees[0] = replace(trees[0], branches=(masked, *trees[0].branches[1:]))
        for plan in pack(trees, layout=layout, row_tokens=60, tokens_per_microbatch=200):
            batch = collate(trees, plan, model.spec, model.store, layout=layout)
            wanted = by_token(trees, plan, model.spec, model.store)
            assert batch.input_ids.tolist() == wanted["ids"]
            assert batch.positions is not None
            positions_ART = torch.tensor(wanted["positions"]).permute(2, 0, 1)
            assert torch.equal(batch.positions.reshape(positions_ART.shape), positions_ART)
            assert batch.predict_N.tolist() == wanted["predict"]
            assert batch.target_N.tolist() == wanted["target"]
            assert batch.branch_N.tolist() == wanted["branch"]
            for name in ("input_ids", "positions", "predict_N", "target_N", "branch_N"):
                assert getattr(batch, name).dtype == torch.long
            if layout == "tree":
                assert (batch.attention[:, 0] == 0).tolist() == wanted["sees"]
