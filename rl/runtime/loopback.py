"""Keeps a run that starts its own Ray inside this machine: nothing of it listens on a network.

Whoever reaches a port of Ray or of a process group can run code in the run. Each library that
listens has a switch of its own. They are all in this file, except torch's rendezvous
(`rl.learners.rendezvous`). A cluster that is joined by its address is different: its machines must
reach one another, so its ports are open, and its network has to be a closed one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

HOST = "127.0.0.1"

# Ray takes this machine for one that cannot be part of a cluster (as it does on Windows and macOS)
# and binds every port of every process to 127.0.0.1. `_node_ip_address="127.0.0.1"` does not
# suffice: Ray replaces a loopback address there by the machine's own.
_STAYS_HERE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

# Ray starts its workers at niceness 15, so that any other program takes the cores from a run.
_NORMAL_PRIORITY = {"RAY_worker_niceness": "0"}


def ray_environment() -> dict[str, str]:
    """What a local Ray reads from the environment as it starts. Its processes inherit it.

    The priority is a default: RAY_worker_niceness that is set already stays.
    """
    return {**_NORMAL_PRIORITY, **_set_already(_NORMAL_PRIORITY), **_STAYS_HERE}


def actor_environment() -> dict[str, str]:
    """What the libraries in a local run's actors read: gloo and NCCL listen on the interface that
    they are given, and otherwise on the one that the machine's name resolves to; vLLM gives its
    processes this address for one another.
    """
    name = loopback_interface()
    interfaces = {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name} if name else {}
    return {**interfaces, "VLLM_HOST_IP": HOST}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for a block; afterwards they are as they were before."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def loopback_interface() -> str | None:
    """The loopback interface: `lo` on Linux, `lo0` on macOS. None if neither is there."""
    names = {name for _, name in socket.if_nameindex()}
    return next((name for name in ("lo", "lo0") if name in names), None)


def free_port(host: str = HOST) -> int:
    """A port of this host address that is free now. Another program may take it before you do."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def _set_already(names: Mapping[str, str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}
