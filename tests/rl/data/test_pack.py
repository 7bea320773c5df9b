"""Packing: every tree once and whole, rows within their length, micro-batches within their
budget.
"""

from hypothesis import given
from hypothesis import strategies as st

from rl.data.pack import pack
from rl.data.tree import Branch, Tree


def tree(index: int, trunk: int, branches: list[int]) -> Tree:
    return Tree(
        uid=str(index),
        trunk_ids=(1,) * trunk,
        branches=tuple(
            Branch(uid=f"{index}/{b}", token_ids=(2,) * n) for b, n in enumerate(branches)
        ),
    )


shapes = st.lists(
    st.tuples(st.integers(1, 120), st.lists(st.integers(1, 30), min_size=1, max_size=5)),
    max_size=25,
)


@given(shapes=shapes, row_tokens=st.integers(1, 300), budget=st.integers(1, 1500))
def test_rows_and_budgets_hold(
    shapes: list[tuple[int, list[int]]], row_tokens: int, budget: int
) -> None:
    trees = [tree(i, trunk, branches) for i, (trunk, branches) in enumerate(shapes)]
    plans = pack(trees, layout="tree", row_tokens=row_tokens, tokens_per_microbatch=budget)
    lanes = [lane for plan in plans for row in plan.rows for lane in row]
    assert sorted(lane.tree for lane in lanes) == list(range(len(trees)))
    for lane in lanes:
        assert lane.branches == tuple(range(len(trees[lane.tree].branches)))
        assert lane.length == trees[lane.tree].num_tokens
    for plan in plans:
        rows, width = plan.shape
        assert rows == 1 or rows * width <= budget
        for row in plan.rows:
            assert len(row) == 1 or sum(lane.length for lane in row) <= row_tokens


@given(shapes=shapes, budget=st.integers(1, 1500))
def test_rows_layout_keeps_a_trees_branches_together(
    shapes: list[tuple[int, list[int]]], budget: int
) -> None:
    trees = [tree(i, trunk, branches) for i, (trunk, branches) in enumerate(shapes)]
    plans = pack(trees, layout="rows", row_tokens=1, tokens_per_microbatch=budget)
    homes: dict[int, set[int]] = {}
    seen = []
    for number, plan in enumerate(plans):
        for row in plan.rows:
            [lane] = row
            [branch] = lane.branches
            homes.setdefault(lane.tree, set()).add(number)
            seen.append((lane.tree, branch))
    assert sorted(seen) == [(i, b) for i, t in enumerate(trees) for b in range(len(t.branches))]
    assert all(len(home) == 1 for home in homes.values())


def test_mixed_lengths_fill_their_rows() -> None:
    trees = [tree(i, 20 + (37 * i) % 200, [5, 7]) for i in range(200)]
    plans = pack(trees, layout="tree", row_tokens=512, tokens_per_microbatch=8192)
    real = sum(plan.num_tokens for plan in plans)
    padded = sum(rows * width for rows, width in (plan.shape for plan in plans))
    assert real / padded >= 0.95


def test_a_long_tree_widens_only_its_own_row() -> None:
    trees = [tree(0, 2000, [5]), *(tree(i, 50, [5]) for i in range(1, 20))]
    plans = pack(trees, layout="tree", row_tokens=512, tokens_per_microbatch=4096)
    assert plans[0].rows[0][0].tree == 0
    assert all(sum(lane.length for lane in row) <= 512 for p in plans for row in p.rows[1:])
    assert sum(p.shape[0] * p.shape[1] for p in plans) < 2 * sum(t.num_tokens for t in trees) + 4096
