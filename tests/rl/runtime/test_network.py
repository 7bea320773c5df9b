import ipaddress
import socket

from rl.runtime.network import free_port, own_address


def test_the_address_is_one_of_this_machine() -> None:
    ipaddress.ip_address(own_address())
    with socket.create_server((own_address(), 0)):
        pass


def test_a_free_port_can_be_bound() -> None:
    with socket.create_server(("", free_port())):
        pass
