"""Publishes two sets of weights to one engine, at once and by vLLM's own reload, and compares the
answers. In a process of its own, because vLLM stays in the process that it was started in.

python -m tests.rollouts.reload_child MODEL_FOLDER OTHER_WEIGHTS
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from rl.core import Sampling
from rollouts.base import GenerateRequest, RolloutConfig
from rollouts.engines.base import EngineStart
from rollouts.engines.vllm.engine import VllmEngine
from rollouts.engines.vllm_settings import Vllm

SAMPLED = Sampling(n=2, temperature=1.0, max_new_tokens=8)


def main(model: Path, other: Path) -> None:
    start = EngineStart(
        model_path=str(model),
        rollout=RolloutConfig(threads=1),
        max_pixels=None,
        banned_ids=(),
        is_multimodal=False,
    )
    engine = VllmEngine(Vllm(kv_cache_gib=0.25), start)
    from rollouts.engines.vllm import transfer

    (first,) = model.glob("*.safetensors")
    can = transfer.can_load_at_once
    taken: list[bool] = []
    found: list[list[Any]] = []
    for decide in (lambda model: can(model), lambda model: False):
        transfer.can_load_at_once = lambda model, decide=decide: (
            taken.append(decide(model)) or taken[-1]
        )
        found.append([answers(engine, path) for path in (first, other, first)])
    print(json.dumps({"at_once": taken, "answers": found}), flush=True)
    os._exit(0)  # vLLM's own end takes seconds


def answers(engine: VllmEngine, path: Path) -> list[Any]:
    """Token ids and log-probs of a few answers under these weights."""
    engine.load_weights(str(path))
    engine.reset_caches()
    for ticket, prompt in enumerate(("what color", "how many circles are there?")):
        engine.add(
            GenerateRequest(ticket=ticket, uid=prompt, prompt=prompt, images=(), seeds=(1, 2)),
            SAMPLED,
        )
    results = []
    while engine.num_unfinished:
        results += engine.step()
    return [
        [c.token_ids, c.behavior_logps]
        for result in sorted(results, key=lambda result: result.ticket)
        for c in result.completions
    ]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
