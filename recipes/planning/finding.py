"""What one check of `plumbline doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """The result of one check. `do` says what to do about it, unless it is well.

    >>> Finding("memory", "warning", "6.0 GiB free", "keep other programs small").status
    'warning'
    """

    topic: str
    status: Status
    detail: str
    do: str = ""
