"""A rollout worker whose answers have a length of their own each, and that also runs the bare
engine: for bench_eval.py, which needs both on one engine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl.core import Sampling
from rl.data.images import open_image
from rollouts.base import GenerateRequest, completion_seed
from rollouts.worker import RolloutWorker

LENGTHS = Path("/tmp/plumbline-bench-lengths")  # "low high": the driver's word to the worker


def length_of(seed: int) -> int:
    """A request's length: spread evenly over the range, by its seed."""
    low, high = map(int, LENGTHS.read_text().split())
    return low + seed % (high - low + 1)


class SizedWorker(RolloutWorker):
    """The real worker and engine; only the length of an answer is not the model's choice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        params = self.engine._params

        def sized(sampling: Sampling, seed: int) -> Any:
            if sampling.temperature > 0:  # the parity gate's
                return params(sampling, seed)
            found = params(sampling, seed)
            found.max_tokens, found.ignore_eos = length_of(seed), True
            return found

        self.engine._params = sized  # type: ignore[method-assign]

    def forget(self) -> None:
        """No cache helps the next run."""
        self.engine.reset_caches()

    def cpu_s(self) -> float:
        """CPU seconds of this process so far, all threads."""
        return time.process_time()

    def bare(self, requests: Sequence[GenerateRequest]) -> tuple[float, int]:
        """vLLM's `LLM.generate` with everything in one call, images opened when it asks for them:
        (seconds, new tokens).
        """
        from vllm import SamplingParams

        started = time.perf_counter()
        prompts = [
            {
                "prompt": request.prompt,
                "multi_modal_data": {"image": [open_image(image) for image in request.images]},
            }
            for request in requests
        ]
        params = [
            SamplingParams(temperature=0.0, max_tokens=length_of(r.seeds[0]), ignore_eos=True)
            for r in requests
        ]
        outputs = self.engine._core._llm.generate(prompts, params, use_tqdm=False)  # type: ignore[attr-defined]
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        return time.perf_counter() - started, tokens


def seed_of(uid: str) -> int:
    """The seed that an evaluation with the run's seed 0 gives a question."""
    return completion_seed(0, 0, uid, 0)
