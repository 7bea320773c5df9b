"""Times `plumbline eval` against the bare engine and a Hugging Face `generate` loop, on the same
2,000 questions.

python -m tests.benchmarks.bench_eval [MODEL_FOLDER]      (a small Qwen3-VL is made if none is
given)

Questions of the scenes (TextVQA's rule), one 64x64 image each, answers of 1-4 and of 16-400 tokens:
each question's length is fixed by its id, whoever answers. One vLLM engine, in a rollout worker on
Ray as `plumbline eval` starts it, serves both the evaluation and the bare `LLM.generate` with every
request in one call; the two alternate, all caches forgotten in between. The evaluation's time is
everything after the engines are up: images, asking, the journal on disk, scoring, intervals,
result.json.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from evals.data.items import Item
from recipes.engines.serving import ServingEngines
from recipes.running.answering import of_workers
from recipes.running.assess import Assessor
from recipes.running.prepare import Prepared, prepare
from recipes.schema.recipe import Recipe, recipe_of
from recipes.schema.stage import BASE
from recipes.synthetic.scenes import write_scenes
from recipes.synthetic.tiny import make_tiny
from rl.runs.store import RunStore
from rollouts.base import GenerateRequest
from tests.benchmarks.sized_worker import LENGTHS, SizedWorker, length_of, seed_of

ROOT = Path(__file__).resolve().parents[2]
RANGES = {"short": (1, 4), "long": (16, 400)}
HF_BATCH = 16


def make_recipe(model: Path, data: Path, root: Path) -> Recipe:
    return recipe_of(
        {
            "run": {"name": "bench", "root": str(root)},
            "model": {"path": str(model)},
            "evals": {"benchmarks": [{"name": "textvqa", "path": str(data / "textvqa")}]},
            "runtime": {"dashboard": False},
        }
    )


def engine_rounds(recipe: Recipe, ranges: list[str], repeats: int) -> None:
    """Prints bare and plumbline seconds, alternating on one engine."""
    import rollouts.worker

    rollouts.worker.RolloutWorker = SizedWorker  # type: ignore[misc]
    prepared = prepare(recipe)
    (loaded,) = prepared.benchmarks
    root = Path(recipe.run.root)
    store = RunStore.create(root / "bench", config_yaml="", facts={})
    store.stage(BASE).write_facts(kind="base", parent=None, weights="bench")
    with (
        ServingEngines(recipe, prepared.renderer, prepared.prompts, name="bench") as engines,
        of_workers(recipe, prepared, engines, root / "bench") as answering,
    ):
        assessor = Assessor(recipe, prepared, store, answering, Console(quiet=True), {})
        requests = [
            GenerateRequest(
                number,
                item.sample.uid,
                prepared.renderer.prompt_text(item.sample),
                item.sample.images,
                (seed_of(item.sample.uid),),
            )
            for number, item in enumerate(loaded.items)
        ]
        (handle,) = engines.pool.handles

        def timed(what: str, run: Callable[[], object]) -> tuple[float, float]:
            """(wall, CPU) seconds; the CPU's hold where the machine has other work too."""
            handle.call("forget", deadline_s=60)
            worker, driver = handle.call("cpu_s", deadline_s=60), time.process_time()
            started = time.perf_counter()
            run()
            wall = time.perf_counter() - started
            worker = handle.call("cpu_s", deadline_s=60) - worker
            driver = time.process_time() - driver
            print(f"  {what:10} {wall:7.2f} s   CPU {worker:7.2f} + {driver:.2f} s", flush=True)
            return wall, worker + driver

        def bare() -> tuple[float, float]:
            return timed("bare", lambda: handle.call("bare", requests, deadline_s=3000))

        def evaluation() -> tuple[float, float]:
            shutil.rmtree(store.evals(BASE), ignore_errors=True)
            shutil.rmtree(store.evals("images"), ignore_errors=True)
            return timed("plumbline", lambda: assessor.assess(BASE, parent=None))

        for name in ranges:
            LENGTHS.write_text(" ".join(map(str, RANGES[name])))
            print(f"{name}: answers of {RANGES[name][0]}-{RANGES[name][1]} tokens")
            handle.call("bare", requests[:128], deadline_s=600)  # warm-up
            ratios = []
            first = bare()
            for _ in range(repeats):
                ours, second = evaluation(), bare()
                ratios.append(
                    [2 * o / (a + b) for o, a, b in zip(ours, first, second, strict=True)]
                )
                first = second
            wall, cpu = (statistics.median(each) for each in zip(*ratios, strict=True))
            print(f"  ratio {wall:.2f}, of CPU time {cpu:.2f}   {np.round(ratios, 2).tolist()}")


def hugging_face(recipe: Recipe, prepared: Prepared, name: str, count: int) -> None:
    """Prints the seconds of a `generate` loop over the first questions, batches of 16."""
    import torch
    from transformers import GenerationConfig

    from rl.data.images import open_image
    from rl.models.load import load_model

    torch.set_num_threads(recipe.rollout.threads)
    LENGTHS.write_text(" ".join(map(str, RANGES[name])))
    model, processor = load_model(recipe.model.path).eval(), prepared.renderer.processor
    processor.tokenizer.padding_side = "left"
    items: list[Item] = list(prepared.benchmarks[0].items[:count])
    started, tokens = time.perf_counter(), 0
    for start in range(0, len(items), HF_BATCH):
        part = [item.sample for item in items[start : start + HF_BATCH]]
        inputs = processor(
            text=[prepared.renderer.prompt_text(sample) for sample in part],
            images=[[open_image(image) for image in sample.images] for sample in part],
            padding=True,
            return_tensors="pt",
        )
        # A batch goes on until its longest answer is done.
        lengths = [length_of(seed_of(sample.uid)) for sample in part]
        config = GenerationConfig(
            max_new_tokens=max(lengths), min_new_tokens=max(lengths), do_sample=False
        )
        with torch.inference_mode():
            model.generate(**inputs, generation_config=config)
        tokens += sum(lengths)
    seconds = time.perf_counter() - started
    print(f"  Hugging Face, {name}, {len(items)} questions {seconds:7.2f} s   {tokens} tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--ranges", nargs="+", default=list(RANGES), choices=RANGES)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--hf", type=int, default=160, help="questions of the long loop")
    options = parser.parse_args()
    # Ray's workers import sized_worker; a thread that spins takes the others' core.
    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    folder = Path(tempfile.mkdtemp(prefix="bench-eval-"))
    try:
        model = options.model or make_tiny("qwen3_vl", folder / "model", size="small")
        third = options.questions // 3
        write_scenes(folder / "data", sft=1, rl=1, select=third, report=options.questions - third)
        recipe = make_recipe(model, folder / "data", folder)
        engine_rounds(recipe, options.ranges, options.repeats)
        prepared = prepare(recipe)
        for name in options.ranges:
            count = options.hf if name == "long" else options.questions
            hugging_face(recipe, prepared, name, count)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        LENGTHS.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
