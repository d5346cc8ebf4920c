import socket

import pytest

from app.kafka import free_port as free_port_module
from app.kafka.free_port import LOWEST, free_port, is_free, lowest_of_clients

LOOPBACK = "127.0.0.1"


def test_a_chosen_port_is_free_and_none_that_a_client_may_get():
    port = free_port(LOOPBACK)
    assert LOWEST <= port < lowest_of_clients()
    assert is_free(LOOPBACK, port)


def test_a_port_on_which_somebody_listens_is_not_chosen(monkeypatch):
    with socket.socket() as other:
        other.bind((LOOPBACK, free_port(LOOPBACK)))
        other.listen()
        taken = other.getsockname()[1]
        next_one = free_port(LOOPBACK)
        tries = iter([taken, taken, next_one])
        monkeypatch.setattr(free_port_module.random, "randint", lambda _low, _high: next(tries))
        assert not is_free(LOOPBACK, taken)
        assert free_port(LOOPBACK) == next_one


@pytest.mark.parametrize("kernel_says", ["1024\t65535\n", "nothing that is a number"])
def test_whatever_the_kernel_gives_to_clients_there_is_a_port(monkeypatch, tmp_path, kernel_says):
    told = tmp_path / "ip_local_port_range"
    told.write_text(kernel_says)
    monkeypatch.setattr(free_port_module, "_RANGE_FILE", told)
    assert is_free(LOOPBACK, free_port(LOOPBACK))
