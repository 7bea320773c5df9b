"""Which sockets the processes of a run listen on."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Listener:
    """A socket that waits for others: TCP that listens, UDP that is bound and not connected."""

    process: str
    kind: str
    address: str

    @property
    def is_loopback(self) -> bool:
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1
        return (mapped or address).is_loopback


class Watch(threading.Thread):
    """Collects the listeners of a process and all its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.found, self.stopped = pid, set[Listener](), threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.5):
            self.found |= set(listeners(self.pid))


def listeners(pid: int) -> Iterator[Listener]:
    """The listeners of a process and all its descendants at this moment."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            name, connections = process.name(), process.net_connections("inet")
        except psutil.Error:  # it ended meanwhile
            continue
        for found in connections:
            is_tcp = found.type == socket.SOCK_STREAM
            if found.laddr and (found.status == psutil.CONN_LISTEN if is_tcp else not found.raddr):
                yield Listener(name, "tcp" if is_tcp else "udp", found.laddr.ip)
