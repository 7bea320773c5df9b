"""Finds a benchmark by its name.

    get_benchmark("mme")               # the file evals/benchmarks/mme.py
    get_benchmark("./mine.yaml")       # a benchmark without code (evals.custom)
    get_benchmark("./mine.py:Mine")    # a class of your own

The folder is the registry: a new file in it is a new benchmark, and nothing else is changed.
"""

from __future__ import annotations

from pathlib import Path

from evals.base import Benchmark
from rl.errors import ConfigError
from rl.plugins import find


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of that id or file. Raises: ConfigError, which suggests the nearest id for an
    unknown one.

    >>> get_benchmark("pope").primary_name
    'f1'
    """
    if name.endswith((".yaml", ".yml")):
        # Imported where it is needed: the import depth of the tree is bounded (test_architecture).
        from evals.custom import yaml_benchmark

        return yaml_benchmark(Path(name).expanduser())
    found = find("evals.benchmarks", name)
    benchmark = found() if isinstance(found, type) else found
    if not isinstance(benchmark, Benchmark):
        raise ConfigError(
            f"{name!r} is not a benchmark",
            expected="a subclass of Benchmark",
            do="name a class or an object of that kind",
        )
    return benchmark
