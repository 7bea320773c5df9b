"""The benchmark of a name: of the folder `benchmarks`, of a page, or of a file of one's own."""

from __future__ import annotations

from pathlib import Path

from evals.base import Benchmark
from rl.errors import ConfigError
from rl.plugins import find


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of that id, of a page `./mine.yaml`, or of `./mine.py:Mine`. Raises:
    ConfigError with the nearest name.
    """
    if name.endswith((".yaml", ".yml")):
        from evals.custom import (
            page_benchmark,  # only a file needs it: it is a long chain of imports
        )

        return page_benchmark(Path(name).expanduser())
    found = find("evals.benchmarks", name)
    benchmark = found() if isinstance(found, type) else found
    if not isinstance(benchmark, Benchmark):
        raise ConfigError(
            f"{name!r} is no benchmark",
            expected="a subclass of Benchmark",
            do="name a class or an object of that kind",
        )
    return benchmark
