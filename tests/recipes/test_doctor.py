"""The doctor: what it makes of what it measures, and what it says."""

from __future__ import annotations

import io
import socket

import pytest
from rich.console import Console

from recipes.planning import doctor
from recipes.planning.doctor import GIB
from recipes.planning.finding import Finding, Status
from rl.runtime.cluster import Cluster
from rl.runtime.placement import RuntimeConfig


@pytest.mark.parametrize(
    ("cores", "limit", "status"), [(2, None, "ok"), (8, 1.5, "warning"), (1, None, "warning")]
)
def test_a_container_limit_counts(cores: int, limit: float | None, status: str) -> None:
    assert doctor.judge_cores(cores, limit).status == status


@pytest.mark.parametrize(("gib", "status"), [(2, "problem"), (6, "warning"), (16, "ok")])
def test_memory(gib: int, status: str) -> None:
    assert doctor.judge_memory(gib * GIB).status == status


def test_a_containers_default_shared_memory_comes_with_its_remedy() -> None:
    finding = doctor.judge_shared_memory(64 * 2**20)
    assert finding.status == "warning"
    assert "--shm-size" in finding.do


def test_an_import_that_fails_gives_its_last_line() -> None:
    finding = doctor.check_import("vllm", "raise ImportError('no such engine')")
    assert finding.status == "problem"
    assert finding.detail == "ImportError: no such engine"
    assert finding.do


def test_a_torchvision_that_opens_no_picture_is_a_problem() -> None:
    """The state without the hook: it imports, and its image operators do not load."""
    broken = "import torchvision.io.image as image; image._has_image_ops = lambda: False"
    finding = doctor.check_import("torchvision", broken + doctor.OPENS_A_PICTURE)
    assert finding.status == "problem"
    assert finding.detail.startswith("RuntimeError: Couldn't load the image extension.")
    assert finding.do == "make setup installs requirements/torchvision_hook.py"


def test_an_import_that_hangs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBE_TIMEOUT_S", 0.5)
    finding = doctor.check_import("ray", "import time; time.sleep(60)")
    assert finding.status == "problem"
    assert "did not end" in finding.detail


def test_missing_build_tools_are_named_for_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    finding = doctor.check_build_tools()
    assert finding.status == "problem"
    assert "apt-get install g++" in finding.do


def test_a_taken_dashboard_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(doctor, "DASHBOARD_PORT", server.getsockname()[1])
        assert "is taken" in doctor.check_loopback().detail


def test_a_clusters_node_is_told_with_its_open_address_and_its_priority() -> None:
    assert doctor.judge_ray_nodes([]).status == "ok"
    slow = doctor.judge_ray_nodes([("10.0.0.5", ""), ("10.0.0.6", "0")])
    assert slow.status == "warning"
    assert "listens on 10.0.0.5, 10.0.0.6" in slow.detail
    assert "niceness 15" in slow.detail
    assert "RAY_worker_niceness=0 ray start" in slow.do
    quick = doctor.judge_ray_nodes([("10.0.0.5", "0")])
    assert quick.status == "warning"
    assert "niceness" not in quick.detail + quick.do


@pytest.mark.engine
def test_a_node_of_this_machine_is_found() -> None:
    """A run's own Ray: on loopback, so that `check_ray_nodes` has nothing to say of it."""
    config = RuntimeConfig(num_cpus=1, dashboard=False, object_store_mib=80)
    with Cluster(config, namespace="test-doctor"):
        assert ("127.0.0.1", "0") in doctor.ray_nodes()


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warning", 0), ("problem", 1)])
def test_the_doctor_prints_findings_and_remedies(
    monkeypatch: pytest.MonkeyPatch, status: Status, code: int
) -> None:
    finding = Finding("engine", status, "as found", "pip install 'plumbline[gpu]'")
    monkeypatch.setattr(doctor, "checkup", lambda: [finding])
    text = io.StringIO()
    assert doctor.doctor(Console(file=text, width=100)) == code
    assert "as found" in text.getvalue()
    assert "plumbline[gpu]" in text.getvalue()


@pytest.mark.engine
def test_every_probe_of_the_checkup_runs_here() -> None:
    findings = {finding.topic: finding for finding in doctor.checkup()}
    assert set(doctor.PROBES) < set(findings)
    for library in doctor.PROBES:
        assert findings[library].status == "ok", findings[library]
