"""Parameters that several commands share, as typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipePath = Annotated[Path, typer.Argument(help="A recipe (YAML).", show_default=False)]
RunPath = Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)]
ModelPath = Annotated[Path, typer.Argument(help="A model folder.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, e.g. stages.grpo.lr=5e-5", show_default=False)
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="A recipe key: key=value, e.g. learner.zero=2")
]
MaxPixels = Annotated[int | None, typer.Option(help="Image limit in pixels.")]
NoParity = Annotated[
    bool,
    typer.Option("--no-parity", help="Do not compare the engine with the model first."),
]
