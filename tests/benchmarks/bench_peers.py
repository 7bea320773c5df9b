"""Times training steps of Plumbline, TRL 1.16 and ms-swift 4.6 on the same work, side by side.

python -m tests.benchmarks.bench_peers --rounds 5

What is compared. A Qwen3-VL of a few million parameters (`plumbline tiny --size small`), 64x64
images, float32, two CPU threads, all weights trained, gradient checkpointing off, no evaluation:

    sft        16 rows a step
    dpo        8 pairs a step
    kto        16 labelled answers a step
    grpo       8 prompts a step, 8 completions each, every completion of 16 tokens
    grpo-128   the same with 128x128 images

Why it is fair. Every system trains the same rows once, one optimizer step after another, each in a
process of its own. The script stops if their own counts of rows, trained tokens or lengths of
answers differ. Settings that are not part of the work are each system's defaults. A step lasts from
the end of the step before to its own end, whatever happens in between; the first three are left
out. References are counted in, also where they are computed before the first step; so are, for
GRPO, sampling, rewards, and handing the new weights to the sampler with Plumbline's parity gate.

Systems take turns within a round, and a ratio is made of two runs of one round. The result is the
median of the rounds' ratios with the smallest and the largest. Every round also runs a floor: only
forward, backward, clipping and AdamW. Nothing else may run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.environments import default_cache, peer_python
from tests.benchmarks.peers.ratios import ratio_over_rounds, samples_per_second
from tests.benchmarks.peers.work import SIZES, Work, make_work

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).with_name("peers")
RUNNERS = {
    "plumbline": ("-m", "tests.benchmarks.peers.run_plumbline"),
    "trl": (str(PEERS / "run_trl.py"),),
    "ms-swift": (str(PEERS / "run_ms_swift.py"),),
    "floor": ("-m", "tests.benchmarks.peers.run_floor"),
}
LONGEST_RUN_S = 1800
Results = dict[str, dict[str, list[dict[str, Any]]]]  # case -> system -> a result for each round


def run_system(system: str, python: Path, work: Work, folder: Path) -> dict[str, Any]:
    """One run in a process of its own. Returns the runner's result, with `samples_per_second`.

    Raises: SystemExit with the end of the runner's log if it fails.
    """
    out, log = folder / f"{system}.json", folder / f"{system}.log"
    out.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(work.threads),
        # Threads that wait do not spin: two systems here have a second process that needs a core.
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": str(ROOT) if "-m" in RUNNERS[system] else "",
    }
    command = [str(python), *RUNNERS[system], str(folder / "work.json"), str(out)]
    with log.open("w") as file:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=LONGEST_RUN_S,
            check=False,
        )
    if done.returncode or not out.exists():
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise SystemExit(
            f"{system} failed on {work.algorithm} (exit code {done.returncode})\n{tail}"
        )
    result: dict[str, Any] = json.loads(out.read_text())
    result["samples_per_second"] = samples_per_second(
        result["step_seconds"], work.samples_per_step, result["once_s"]
    )
    return result


def require_equal_work(case: str, results: dict[str, dict[str, Any]]) -> None:
    """Raises: SystemExit if systems differ in rows, trained tokens or lengths of answers."""
    for fact in ("rows", "tokens_trained", "answer_lengths"):
        found = {system: result[fact] for system, result in results.items()}
        if any(value != next(iter(found.values())) for value in found.values()):
            raise SystemExit(f"{case}: the systems did different work: {fact} = {found}")


def table(results: Results) -> str:
    """The results as a Markdown table: samples per second, and Plumbline's ratios over the rounds.

    A second column for each other system: how many times as fast Plumbline was.
    """
    systems = list(next(iter(results.values())))
    others = [system for system in systems if system != "plumbline"]
    ours = "plumbline" in systems
    head = ["case", *(f"{system}, samples/s" for system in systems)]
    head += [f"plumbline / {system}" for system in others if ours]
    lines = [head, ["---"] * len(head)]
    for case, by_system in results.items():
        rates = {s: [run["samples_per_second"] for run in runs] for s, runs in by_system.items()}
        cells = [f"{sorted(rates[system])[len(rates[system]) // 2]:.1f}" for system in systems]
        cells += [
            str(ratio_over_rounds(rates["plumbline"], rates[system])) for system in others if ours
        ]
        lines.append([case, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def measure(
    cases: Sequence[str], systems: Sequence[str], options: argparse.Namespace, folder: Path
) -> Results:
    """All rounds. After each run the file of results is written again, so a stopped comparison
    keeps its rounds."""
    pythons = {system: peer_python(system, options.cache) for system in systems}
    works = {
        case: make_work(folder / case, case, steps=options.steps, seed=options.seed)
        for case in cases
    }
    results: Results = {case: {system: [] for system in systems} for case in cases}
    for number in range(options.rounds):
        for case, work in works.items():
            latest = {}
            for system in systems:
                result = run_system(system, pythons[system], work, folder / case)
                latest[system] = result
                results[case][system].append(result)
                rate = result["samples_per_second"]
                print(f"round {number + 1} {case} {system}: {rate:.1f} samples/s", flush=True)
            require_equal_work(case, latest)
            facts = {"steps": options.steps, "seed": options.seed, "results": results}
            options.out.write_text(json.dumps(facts, indent=1))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="steps of each run, at least 4")
    parser.add_argument("--seed", type=int, default=0, help="other rows and images")
    parser.add_argument("--cases", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--systems", nargs="+", default=list(RUNNERS), choices=RUNNERS)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="peers' environments")
    parser.add_argument("--out", type=Path, default=Path("bench-peers.json"))
    options = parser.parse_args()
    if options.steps < 4:
        parser.error("--steps: the first three are left out, so at least 4")
    options.out = options.out.resolve()
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as name:
        results = measure(options.cases, options.systems, options, Path(name))
    print(f"\n{table(results)}\n\nmedians of {options.rounds} rounds; all runs: {options.out}")


if __name__ == "__main__":
    main()
