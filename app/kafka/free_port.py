"""Ports for servers on this machine that no client's connection gets in the meantime.

The kernel gives a client a port of its own for each connection. A server that is to listen on such
a port a moment later, or again after a restart, may find it taken; a client that keeps trying to
reach it may even be connected to itself.
"""

import random
import socket
from pathlib import Path
from typing import Final

LOWEST: Final = 20_000
"""Below are the ports of services that are known by them."""

TRIES: Final = 200

_RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def lowest_of_clients() -> int:
    """The lowest port that the kernel gives to clients; elsewhere than on Linux that of IANA."""
    try:
        return int(_RANGE_FILE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 49_152


def free_port(host: str) -> int:
    """Choose a port on which nobody listens.

    Where the kernel may give clients nearly all ports, it is one of those.

    Raises:
        OSError: The address is not one of this machine's.
    """
    highest = lowest_of_clients() - 1
    for _ in range(TRIES if highest > LOWEST else 0):
        port = random.randint(LOWEST, highest)  # noqa: S311 -- any port will do
        if is_free(host, port):
            return port
    with _probe(host) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with _probe(host) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _probe(host: str) -> socket.socket:
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    # Connections of a server before may still be in TIME_WAIT; that does not hinder the next one.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return probe
