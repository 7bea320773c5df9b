"""How the ranks of a learner find one another: through a key-value store that rank 0 serves."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import TCPStore, is_initialized  # type: ignore[attr-defined]

from rl.runtime.loopback import environment

# A store is served until its object is gone: kept for the life of the process.
_served: list[TCPStore] = []


@contextmanager
def store_on_loopback(rank: int, address: str, port: int) -> Iterator[None]:
    """While DeepSpeed starts the process group: its store listens on 127.0.0.1 alone.

    The store that torch would serve at MASTER_ADDR:MASTER_PORT listens on every interface of the
    machine, whatever the address. Where all ranks are on this machine (`address` is a loopback
    address) rank 0 binds the port itself and serves the store there before torch asks for one. A
    variable that torchrun sets too makes torch connect to that store. Other addresses are left to
    torch: machines have to reach one another.

        with store_on_loopback(rank, "127.0.0.1", 29500):
            deepspeed.init_distributed("gloo")      # every rank connects to the store
    """
    if is_initialized() or not _is_loopback(address):
        yield
        return
    if rank == 0:
        listener = socket.create_server((address, port))
        _served.append(
            TCPStore(
                address,
                port,
                is_master=True,
                wait_for_workers=False,  # the ranks come as clients, this one too
                multi_tenant=True,
                master_listen_fd=listener.detach(),
            )
        )
    with environment({"TORCHELASTIC_USE_AGENT_STORE": "True"}):
        yield


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a host's name
        return address == "localhost"
