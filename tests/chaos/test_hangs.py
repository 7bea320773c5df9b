"""What hangs or runs out, at a random moment of a run: one clear line within the deadline."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.runs import events, goes_on, page, start, write
from tests.processes import engine_cores, titles

pytestmark = [pytest.mark.engine, pytest.mark.chaos, pytest.mark.timeout(6000)]

DEADLINE_S = 8.0
# From the error to the end of every process of the run.
END_S = 60.0


def ended(driver: subprocess.Popen[bytes], path: Path, within_s: float) -> str:
    """The one line that the command ended with, exit code 1; no traceback before it."""
    assert driver.wait(timeout=within_s) == 1, path.with_suffix(".log").read_text()
    log = path.with_suffix(".log").read_text()
    assert "Traceback" not in log, log
    lines = [line for line in log.splitlines() if line.startswith("plumbline: ")]
    assert len(lines) == 1, log
    deadline = time.monotonic() + 180  # Ray's own agents end at leisure
    while list(titles(driver.pid)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not list(titles(driver.pid)), "processes outlive the run"
    return lines[0]


@pytest.mark.parametrize(
    "engine", ["in_process", pytest.param("own_process", marks=pytest.mark.slow)]
)
def test_a_hanging_engine_ends_the_run_within_its_deadline(
    tiny_qwen3vl: Path,
    scene_data: Path,
    tmp_path: Path,
    repeats: int,
    rng: random.Random,
    engine: str,
) -> None:
    for number in range(repeats):
        name = f"hang-{number}"
        recipe = page(tiny_qwen3vl, scene_data, tmp_path, name, ("grpo",), steps=200)
        path = write(
            recipe,
            tmp_path,
            ("rollout", "engine", {"core": engine}),
            ("rollout", "deadline_s", DEADLINE_S),
            ("rollout", "publish_deadline_s", DEADLINE_S),
        )
        driver = start(path)
        while driver.poll() is None and not events(tmp_path / name, "engines_up"):
            time.sleep(0.2)
        time.sleep(rng.uniform(1, 8))
        (worker,) = [
            pid for pid, line in titles(driver.pid) if line.startswith(b"ray::RolloutWorker")
        ]
        stopped = engine_cores(worker) if engine == "own_process" else [worker]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        hung = time.monotonic()
        line = ended(driver, path, DEADLINE_S + END_S)
        assert re.search(rf"rollout-0 in \w+.*no answer within {DEADLINE_S:g} s", line), line
        print(f"{engine}: ended {time.monotonic() - hung:.1f} s after the engine hung: {line}")
        assert len(events(tmp_path / name, "run_failed")) == 1
    if engine == "own_process":
        goes_on(path, tmp_path / name, "grpo")


def test_a_hanging_reward_ends_the_run_within_its_deadline(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path, repeats: int, rng: random.Random
) -> None:
    for number in range(repeats):
        name = f"slow-{number}"
        reward = tmp_path / f"slow_{number}.py"
        reward.write_text(
            "import time\n\nfrom rewards.base import reward\n\n\n"
            "@reward(name='slow')\n"
            "def slow(text: str) -> float:\n"
            f"    if time.time() > float(open({str(tmp_path / 'from')!r}).read()):\n"
            "        time.sleep(3600)\n"
            "    return float(len(text) % 3)\n"
        )
        (tmp_path / "from").write_text("1e18")
        recipe = page(tiny_qwen3vl, scene_data, tmp_path, name, ("grpo",), steps=200)
        (stage,) = recipe.stages
        rewards = (stage.rewards[0].model_copy(update={"name": f"{reward}:slow"}),)
        recipe = recipe.model_copy(
            update={"stages": (stage.model_copy(update={"rewards": rewards}),)}
        )
        path = write(recipe, tmp_path, ("reward_workers", "answer_deadline_s", 0.5))
        driver = start(path)
        while driver.poll() is None and not events(tmp_path / name, "engines_up"):
            time.sleep(0.2)
        time.sleep(rng.uniform(1, 8))
        (tmp_path / "from").write_text("0")
        hung = time.monotonic()
        # Every answer of one step may wait for its own deadline: 6 prompts x 4 answers.
        line = ended(driver, path, 0.5 * 24 + END_S)
        assert re.search(r"gave no answer within 0.5 s and was stopped", line), line
        assert "slow" in line
        print(f"ended {time.monotonic() - hung:.1f} s after the reward hung: {line}")
        assert len(events(tmp_path / name, "run_failed")) == 1
    (tmp_path / "from").write_text("1e18")
    goes_on(path, tmp_path / name, "grpo")


def _can_mount() -> bool:
    made = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(made, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not _can_mount(), reason="no user namespaces here: no small disk to fill")
def test_a_full_disk_ends_the_run_in_one_line(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path, repeats: int, rng: random.Random
) -> None:
    for number in range(repeats):
        disk = tmp_path / f"disk-{number}"
        disk.mkdir()
        recipe = page(tiny_qwen3vl, scene_data, tmp_path, f"full-{number}", ("grpo",), steps=200)
        path = write(recipe, tmp_path, ("run", "root", str(disk)))
        with _small_disk(disk) as inside:
            # The namespace's files, as they are seen from outside of it.
            seen = Path(f"/proc/{inside[2]}/root{disk}")
            run = seen / recipe.run.name
            driver = start(path, before=inside)
            while driver.poll() is None and not events(run, "engines_up"):
                time.sleep(0.2)
            time.sleep(rng.uniform(0, 8))
            filler = f"cat /dev/zero > {disk}/filler"
            subprocess.run([*inside, "sh", "-c", filler], check=False, capture_output=True)
            line = ended(driver, path, 300)
            assert re.search(r"No space left|free (some|disk) space", line, re.IGNORECASE), line
            assert "--resume" in line, line
            print(line)
            if number == repeats - 1:
                (seen / "filler").unlink()
                goes_on(path, run, "grpo", before=inside)


@contextmanager
def _small_disk(folder: Path) -> Iterator[list[str]]:
    """A disk of 64 MiB on this folder, in a mount namespace of its own; yields the words before a
    command that shall see it.
    """
    mount = f"mount -t tmpfs -o size=64m tmpfs {folder} && echo ready && exec sleep infinity"
    holder = subprocess.Popen(["unshare", "-rm", "sh", "-c", mount], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        yield ["nsenter", "-t", str(holder.pid), "-U", "-m", "--preserve-credentials"]
    finally:
        holder.kill()
        holder.wait()
