"""A Ray session: what its start says and does. What runs on it is tested where it belongs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from rl.errors import ConfigError, PlumblineError, RunError
from rl.runtime import loopback
from rl.runtime.cluster import Cluster
from rl.runtime.placement import Role, RuntimeConfig, place

SMALL = RuntimeConfig(num_cpus=1, dashboard=False, object_store_mib=80)


def fails_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's start ends with this error."""

    def init(**_: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)


@pytest.mark.parametrize(
    "error",
    [
        Exception("the node timed out\n  at a place"),
        OSError(24, "Too many open files"),
        KeyError("x"),
    ],
)
def test_every_failed_start_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(error, monkeypatch)
    with pytest.raises(RunError) as caught:
        Cluster(SMALL, namespace="test")
    line = str(caught.value)
    assert line.startswith(
        f"runtime.address: local: Ray did not start: {str(error).split(chr(10))[0]}"
    )
    assert "\n" not in line
    assert "plumbline doctor" in line


def test_an_address_that_cannot_be_joined_is_the_users_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fails_with(Exception("no such node"), monkeypatch)
    with pytest.raises(ConfigError, match=r"10\.0\.0\.9:6379: Ray did not start: no such node"):
        Cluster(RuntimeConfig(address="10.0.0.9:6379"), namespace="test")


class Stopped(PlumblineError):
    """What a handler of SIGTERM raises."""


@pytest.mark.parametrize("error", [Stopped("told to stop"), KeyboardInterrupt(), SystemExit(3)])
def test_a_stop_while_ray_starts_stays_what_it_is(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_with(error, monkeypatch)
    with pytest.raises(type(error)):
        Cluster(SMALL, namespace="test")


def test_the_environment_of_before_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "7")
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    values = loopback.ray_environment()
    assert values["RAY_worker_niceness"] == "7"  # the user's own value stays
    with loopback.environment(values):
        assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ


class Process:
    """An actor that says how its process runs."""

    def priority(self) -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    before = signal.getsignal(signal.SIGTERM)
    with Cluster(SMALL, namespace="test-cluster") as cluster:
        cluster.reserve(place([Role("process", 1)], cluster_cpus=1, cluster_gpus=0))
        yield cluster
    signal.signal(signal.SIGTERM, before)


@pytest.mark.engine
def test_an_actor_has_the_priority_of_its_driver(cluster: Cluster) -> None:
    """Ray's own default is niceness 15: any other program would take the cores."""
    actor = cluster.actor(Process, role="process", place=0)
    actor.ready(60)
    assert actor.call("priority", deadline_s=60) == os.getpriority(os.PRIO_PROCESS, 0)
    assert actor.call("variable", "GLOO_SOCKET_IFNAME", deadline_s=60) == "lo"


@pytest.mark.engine
def test_a_local_node_has_a_loopback_address(cluster: Cluster) -> None:
    """Though this process imported Ray long before, which decides it by the environment then."""
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == [loopback.HOST]
    assert cluster.is_local
