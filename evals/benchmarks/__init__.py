"""Benchmarks: one file each, the folder is the registry."""

from evals.base import Benchmark, BenchmarkConfig, Item, get_benchmark


def open_benchmark(config: BenchmarkConfig) -> tuple[Benchmark, list[Item]]:
    """The benchmark that a recipe names, with its items of both parts. Raises: ConfigError,
    DataError.
    """
    benchmark = get_benchmark(config.name)
    items = benchmark.load(
        config.path_for(benchmark), profile=config.profile, prompt=config.prompt, limit=config.limit
    )
    return benchmark, items
