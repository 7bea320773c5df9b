"""This machine as others reach it."""

from __future__ import annotations

import socket

# An address that no route needs to know: a datagram socket that is "connected" to it sends
# nothing, and tells by which of the machine's own addresses others are reached.
_ELSEWHERE = ("10.255.255.255", 1)


def own_address() -> str:
    """The machine's address on its default route; 127.0.0.1 where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return "127.0.0.1"
        host: str = probe.getsockname()[0]
    return host


def free_port() -> int:
    """A port that is free on every address of this machine now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port
