"""A Ray cluster of two nodes on this machine: a submitted job runs the quickstart's GRPO stage, and
goes on when a node is lost."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ray.cluster_utils import Cluster
from ray.job_submission import JobStatus, JobSubmissionClient
from ray.util.state import list_actors

from recipes.schema.recipe import load_recipe, resolved
from rl.runs.metrics import read_metrics
from rl.runs.store import RunStore
from rollouts.collect import read_rollouts
from tests.chaos.runs import events
from tests.recipes.own_reward import spread_reward
from tests.recipes.test_resume import assert_learning

pytestmark = [
    pytest.mark.engine,
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
]

STEPS, PROMPTS, GROUP = 8, 8, 4
ROOT = Path(__file__).parents[2]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes of two CPUs each; the jobs' address is `webui_url`."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    memory = {"num_cpus": 2, "object_store_memory": 200 * 2**20}
    found = Cluster(
        initialize_head=True,
        head_node_args={"include_dashboard": True, "dashboard_port": 0, **memory},
    )
    try:
        found.add_node(**memory)
        yield found
    finally:
        found.shutdown()


def page(model: Path, data: Path, root: Path) -> Path:
    """The quickstart's GRPO stage, smaller, from the base model, with a worker a node."""
    whole = load_recipe(ROOT / "recipes" / "configs" / "quickstart.yaml")
    found = yaml.safe_load(resolved(whole))
    (grpo,) = [stage for stage in found["stages"] if stage["name"] == "grpo"]
    # The base model answers nothing right, and ends no answer: what it can learn from is graded.
    grpo["algorithm"] |= {"group_size": GROUP, "train_truncated": True}
    spread = spread_reward(root)
    grpo |= {
        "rewards": [{"name": spread}],
        "from": "base",
        "data": [{"path": str(data / "rl.jsonl")}],
        "steps": STEPS,
        "prompts_per_step": PROMPTS,
        "save_every": 2,
        "keep_rollouts_every": 1,
        "evaluate": False,
    }
    found["stages"] = [grpo]
    found["run"] |= {"name": "cluster", "root": str(root / "runs")}
    found["model"]["path"] = str(model)
    found["evals"] |= {"benchmarks": [], "evaluate_base": False}
    found["learner"]["cpus"] = 0.5
    found["reward_workers"]["cpus"] = 0.25
    found["rollout"] |= {
        "workers": 2,
        "cpus": 0.25,
        "engine": {"kv_cache_gib": 0.25},
        "max_model_len": 256,
    }
    path = root / "cluster.yaml"
    path.write_text(yaml.safe_dump(found))
    return path


def _submit(command: list[str]) -> None:
    """Submits the job, again while the new cluster's job agent is not up yet."""
    ends = time.monotonic() + 120
    while True:
        told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        if told.returncode == 0:
            return
        assert time.monotonic() < ends, told.stdout + told.stderr
        time.sleep(2)


def test_a_submitted_job_outlives_a_node(
    nodes: Cluster, tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path
) -> None:
    path, run = page(tiny_qwen3vl, scene_data, tmp_path), tmp_path / "runs" / "cluster"
    dashboard = f"http://{nodes.head_node.webui_url}"
    submitted = ["ray", "job", "submit", "--address", dashboard, "--no-wait"]
    command = [*submitted, "--submission-id", "grpo", "--", "plumbline", "run", str(path)]
    _submit(command)
    jobs, metrics = JobSubmissionClient(dashboard), run / "stages" / "grpo" / "metrics.jsonl"

    def running() -> bool:
        return jobs.get_job_status("grpo") not in (JobStatus.SUCCEEDED, JobStatus.FAILED)

    while running() and max((row["step"] for row in read_metrics(metrics)), default=0) < 3:
        time.sleep(0.5)
    (second,) = nodes.worker_nodes
    actors = list_actors(address=dashboard, filters=[("state", "=", "ALIVE")])
    places = {a.name: a.node_id for a in actors if a.name and "-" in a.name}
    lost = [name for name, node in places.items() if node == second.node_id]
    spread = {places[name] for name in ("rollout-0", "rollout-1")}
    assert len(spread) == 2, places
    nodes.remove_node(second, allow_graceful=False)
    while running():
        time.sleep(0.5)
    log = jobs.get_job_logs("grpo")
    assert jobs.get_job_status("grpo") == JobStatus.SUCCEEDED, log
    told = Counter(event["event"] for event in events(run))
    for name in lost:
        kind = name.rpartition("-")[0]
        kind = kind if kind == "learner" else f"{kind}_worker"
        assert told[f"{kind}_lost"] == told[f"{kind}_restarted"] == 1, (lost, told)
    stage = RunStore.open(run).stage("grpo")
    assert_learning(run, "grpo")
    assert [row["step"] for row in read_metrics(stage.metrics) if "loss" in row] == list(
        range(1, STEPS + 1)
    )
    for step in range(1, STEPS + 1):
        rows = read_rollouts(stage.rollouts / f"step-{step:06d}.parquet")
        assert len(rows) == PROMPTS * GROUP
        assert len({(row["uid"], row["index"]) for row in rows}) == PROMPTS * GROUP
    facts = json.loads((run / "stages" / "grpo" / "stage.json").read_text())
    assert facts["status"] == "finished"
