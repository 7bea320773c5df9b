"""The stage graph: the places of the stages' cards, and the lines between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evals.report.run import Run, depth


@dataclass(frozen=True)
class Box:
    """The place of a stage's card in the strip, in pixels."""

    stage: str
    left: int
    top: int
    depth: int


@dataclass(frozen=True)
class Strip:
    """The stage graph: cards in columns by depth, and the lines between parent and child. `boxes`
    are in the order of the tree: a stage is followed by the stages below it, then by its siblings.
    """

    boxes: list[Box]
    edges: Markup
    width: int
    height: int
    card_width: int
    card_height: int

    @property
    def style(self) -> Markup:
        """The places of the cards as rules for the page's one style sheet. The page's policy allows
        no style on single elements.
        """
        rules = [
            f"#card-{number} {{ left: {box.left}px; top: {box.top}px; width: {self.card_width}px; "
            f"height: {self.card_height}px; --depth: {box.depth}; }}"
            for number, box in enumerate(self.boxes)
        ]
        return Markup(
            "\n".join([f".strip {{ width: {self.width}px; height: {self.height}px; }}", *rules])
        )


def strip(run: Run, *, card_width: int = 208, card_height: int = 96, gap: int = 52) -> Strip:
    """Lays the stages out from left to right."""
    parents = {stage.name: stage.parent for stage in run.stages}
    columns: dict[int, list[str]] = {}
    for stage in run.stages:
        columns.setdefault(depth(stage.name, parents), []).append(stage.name)
    for names in columns.values():
        names.sort(
            key=lambda name: (stage := run.stage(name)) is not None and stage.kind == "sample"
        )
    tallest = max((len(names) for names in columns.values()), default=1)
    space = 16
    height = tallest * (card_height + space) - space
    where: dict[str, tuple[int, int]] = {}
    for column, names in columns.items():
        top = (height - len(names) * (card_height + space) + space) // 2
        for lane, name in enumerate(names):
            where[name] = (column * (card_width + gap), top + lane * (card_height + space))
    edges = [
        _edge(where[parent], where[name], card_width, card_height)
        for name, parent in parents.items()
        if parent in where and parent is not None
    ]
    width = (max(columns, default=0) + 1) * (card_width + gap) - gap
    size = f'width="{width}" height="{height}"'
    svg = f'<svg class="edges" {size} aria-hidden="true">{"".join(edges)}</svg>'
    boxes = [Box(name, *where[name], depth(name, parents)) for name in _tree(list(where), parents)]
    return Strip(boxes, Markup(svg), width, height, card_width, card_height)


def _tree(names: Sequence[str], parents: Mapping[str, str | None]) -> list[str]:
    """The names in an order in which a stage is followed by the stages below it."""
    roots = [name for name in names if parents[name] not in parents]
    found: dict[str, None] = {}
    ahead = roots[::-1]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found[name] = None
            ahead += [child for child in reversed(names) if parents[child] == name]
    return list(found | dict.fromkeys(names))


def _edge(start: tuple[int, int], end: tuple[int, int], width: int, height: int) -> str:
    x1, y1 = start[0] + width, start[1] + height // 2
    x2, y2 = end[0], end[1] + height // 2
    bend = (x2 - x1) // 2
    return (
        f'<path d="M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2 - 5} {y2}"/>'
        f'<path class="tip" d="M{x2 - 6} {y2 - 4} L{x2} {y2} L{x2 - 6} {y2 + 4} Z"/>'
    )
