"""Synthetic models and data, made offline: `tiny`, `scenes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.cli.group import Group
from recipes.synthetic.tiny import FAMILIES, SIZES

GROUP = Group("Make synthetic models and data", order=60)


@GROUP.command()
def tiny(
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint.", show_default=False)],
    family: Annotated[str, typer.Option(help=" | ".join(FAMILIES))] = "qwen3_vl",
    size: Annotated[str, typer.Option(help=" | ".join(SIZES))] = "tiny",
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
) -> None:
    """Make a small random checkpoint of a real architecture."""
    import os

    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # saving imports DeepSpeed, which else warns
    from transformers.utils import logging

    from recipes.running.run_folder import require_writable
    from recipes.synthetic.tiny import make_tiny

    require_writable(out)
    logging.disable_progress_bar()
    print(f"{make_tiny(family, out, seed=seed, size=size)}: a random {family}, size {size}")


@GROUP.command()
def scenes(
    out: Annotated[Path, typer.Argument(help="Folder for the data.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Seed of the worlds.")] = 0,
) -> None:
    """Make synthetic scenes: rows for SFT and RL, and two benchmarks in MME's and TextVQA's style.

    The benchmarks are folders that `plumbline eval -b mme=OUT/mme` reads.
    """
    from recipes.running.run_folder import require_writable
    from recipes.synthetic.scenes import write_scenes

    require_writable(out)
    counts = write_scenes(out, seed=seed)
    print(f"{out}: {counts.sft:,} rows for SFT, {counts.rl:,} for RL, {counts.images:,} pictures")
    for name, parts in (("mme", counts.mme), ("textvqa", counts.textvqa)):
        print(
            f"{out / name}: " + ", ".join(f"{n:,} questions to {part}" for part, n in parts.items())
        )
