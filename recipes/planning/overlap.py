"""Training rows of a recipe against its benchmarks, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from evals.contamination.prints import PrintStore
from evals.contamination.search import Overlap, overlaps, train_row
from recipes.running.console import say
from recipes.running.prepare import Prepared, prepare
from recipes.schema.recipe import Recipe

PRINTS = Path(".cache") / "images.sqlite"  # below run.root, shared by its runs


def find_overlaps(recipe: Recipe, prepared: Prepared, console: Console) -> dict[str, Overlap]:
    """The overlap of each benchmark with every file that any stage of the recipe reads.

    Fingerprints of pictures are kept below `run.root` by the hash of their files.
    """
    if not prepared.benchmarks:
        return {}
    rows = [train_row(row, stage) for stage, found in prepared.records.items() for row in found]
    store = PrintStore(Path(recipe.run.root) / PRINTS)
    try:
        found = overlaps(
            rows, {loaded.benchmark.id: loaded.items for loaded in prepared.benchmarks}, store
        )
    finally:
        store.close()
    for name, overlap in found.items():
        if overlap.flags:
            say(
                console,
                f"{name}: {len(overlap.flags)} questions are in the training data too "
                f"({overlap.num_images} images); scores are shown with and without them",
            )
    return found


def show_overlaps(recipe: Recipe, console: Console, *, as_json: bool) -> None:
    """Prints a table, or JSON with every suspect question."""
    prepared = prepare(recipe)
    found = find_overlaps(recipe, prepared, Console(quiet=True))
    if as_json:
        values = {
            name: {
                "images": overlap.num_images,
                "flagged": {uid: flag.as_dict() for uid, flag in overlap.flags.items()},
            }
            for name, overlap in found.items()
        }
        print(json.dumps(values, ensure_ascii=False))
        return
    table = Table("benchmark", "questions", "flagged", "images", "image", "image + words", "text")
    for loaded in prepared.benchmarks:
        overlap = found[loaded.benchmark.id]
        kinds = [flag.kinds for flag in overlap.flags.values()]
        counts = [sum(kind in each for each in kinds) for kind in ("image", "question", "text")]
        cells = (len(loaded.items), len(overlap.flags), overlap.num_images, *counts)
        table.add_row(loaded.benchmark.id, *map(str, cells))
    console.print(table)
    for name, overlap in found.items():
        for uid, flag in list(overlap.flags.items())[:10]:
            say(console, f"{name} {uid}: {', '.join(flag.kinds)}; training row {flag.train}")
