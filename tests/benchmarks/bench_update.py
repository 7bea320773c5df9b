"""Times the whole update of a 48 x 8 GRPO step through the DeepSpeed learner: tree layout
against rows.

python tests/benchmarks/bench_update.py [MODEL_FOLDER]      (a small Qwen3-VL is made if none is
given)

Both layouts run through one learner and take the same trees: prompts of up to 85 tokens with one
image each, 8 answers of at most 12 tokens, `prepare` and image preprocessing included. Steps of
the two alternate.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rl.algorithms.grpo import GRPO, Mismatch
from rl.core import Completion, Image, ImageSource, Message, Rollout, Sample, Score, Text
from rl.data.render import Renderer
from rl.data.tree import Tree
from rl.learners.base import LearnerConfig, OptimPlan, SamplingDistribution
from rl.models.spec import ModelConfig

PROMPTS, GROUP, LONGEST = 48, 8, 12


def make_trees(renderer: Renderer, folder: Path, seed: int) -> list[Tree]:
    """Groups with fresh images, and rewards that differ within each group."""
    import PIL.Image

    rng = random.Random(seed)
    trees = []
    for number in range(PROMPTS):
        file = folder / f"{seed}-{number}.png"
        PIL.Image.frombytes("RGB", (64, 64), rng.randbytes(64 * 64 * 3)).save(file)
        question = " ".join(["what color is the shape?"] * rng.randint(3, 8))
        turn = Message(role="user", parts=(Image(0), Text(question)))
        sample = Sample(uid=f"{seed}/{number}", messages=(turn,), images=(ImageSource(str(file)),))
        completions = []
        for _ in range(GROUP):
            ids = tuple(rng.randrange(20, 250) for _ in range(rng.randint(4, LONGEST)))
            completions.append(Completion(ids, tuple([-5.0] * len(ids)), "", "stop"))
        rollout = Rollout(sample, renderer.prompt_ids(sample), tuple(completions))
        trees.append(
            renderer.rollout_tree(rollout, [Score(float(i % 3 == 0)) for i in range(GROUP)])
        )
    return trees


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument(
        "--tokens-per-microbatch", type=int, default=LearnerConfig().tokens_per_microbatch
    )
    parser.add_argument("--row-tokens", type=int, default=LearnerConfig().row_tokens)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = arguments.model
        if model is None:
            from recipes.synthetic.tiny import make_tiny

            model = make_tiny("qwen3_vl", folder / "model", size="small")
        from rl.learners.zero import ZeroLearner

        config = LearnerConfig(
            tokens_per_microbatch=arguments.tokens_per_microbatch, row_tokens=arguments.row_tokens
        )
        learner = ZeroLearner(config, ModelConfig(path=str(model)), master_port=29611)
        learner.begin_stage(str(model), OptimPlan(lr=0.0, total_steps=100), needs_reference=False)
        renderer = Renderer(learner.spec.processor, learner.spec, 512)
        tree_passes, times = learner.rank_passes.passes, {"tree": [0.0], "rows": [0.0]}
        algorithm = GRPO(mismatch=Mismatch(sequence_mask=None))  # random answers would be masked
        distribution = SamplingDistribution(banned_ids=learner.spec.banned_ids)
        for step in range(arguments.steps + 1):
            trees = make_trees(renderer, folder, step)
            for layout in times:
                learner.rank_passes.passes = replace(
                    tree_passes,
                    layout=layout,  # type: ignore[arg-type]
                    store=type(tree_passes.store)(learner.spec),
                )
                started = time.perf_counter()
                metrics = learner.step(trees, algorithm, distribution)
                seconds = time.perf_counter() - started
                times[layout].append(seconds)
                print(
                    f"step {step} {layout}: {seconds:.3f} s, "
                    f"{metrics['tokens/forward']:.0f} tokens, "
                    f"gradient norm {metrics['grad_norm']:.6f}",
                    file=sys.stderr,
                )
        longest = max(len(tree.trunk_ids) for tree in trees)
        median = {layout: statistics.median(values[2:]) for layout, values in times.items()}
        print(f"{PROMPTS} prompts of <= {longest} tokens x {GROUP} answers of <= {LONGEST}")
        print(f"tree {median['tree']:.3f} s, rows {median['rows']:.3f} s (medians)")
        print(f"tree takes {median['tree'] / median['rows']:.2f} of the rows' time")


if __name__ == "__main__":
    main()
