import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from app.kafka import embedded_broker
from app.kafka.embedded_broker import BrokerUnavailable, EmbeddedBroker, answers_kafka


def until(condition, deadline_s=10.0):
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def test_a_started_broker_answers_kafka_and_a_stopped_one_does_not(tmp_path):
    with EmbeddedBroker(tmp_path) as broker:
        assert re.fullmatch(r"127\.0\.0\.1:\d+", broker.address)
        assert answers_kafka(broker.port)
        assert "kafka" in broker.log_file.read_text()
    assert not answers_kafka(broker.port)
    assert broker.exit_code() == 0


def test_it_listens_on_loopback_only(tmp_path):
    with EmbeddedBroker(tmp_path) as broker:
        addresses = {
            connection.laddr.ip
            for connection in psutil.Process(broker.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
    assert addresses == {"127.0.0.1"}


def test_a_second_start_takes_the_same_port(tmp_path):
    with EmbeddedBroker(tmp_path) as first:
        port = first.port
    with EmbeddedBroker(tmp_path) as second:
        assert second.port == port


def test_a_second_start_takes_another_port_when_the_old_one_is_taken(tmp_path):
    with EmbeddedBroker(tmp_path) as first:
        port = first.port
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        with EmbeddedBroker(tmp_path) as second:
            assert second.port != port
            assert answers_kafka(second.port)


def test_a_port_asked_for_is_used_or_refused(tmp_path):
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        with pytest.raises(BrokerUnavailable, match=f"port {port} on 127.0.0.1 is taken"):
            EmbeddedBroker(tmp_path, port).start()
    with EmbeddedBroker(tmp_path, port) as broker:
        assert broker.port == port


def test_an_open_port_that_does_not_speak_kafka_is_no_broker():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not answers_kafka(silent.getsockname()[1], timeout_s=0.1)


def test_two_brokers_never_share_a_folder(tmp_path):
    with EmbeddedBroker(tmp_path):
        rival = EmbeddedBroker(tmp_path)
        with pytest.raises(BrokerUnavailable, match="is the service running already"):
            rival.spawn(lock_deadline_s=0.1)


def test_a_killed_broker_can_be_started_again(tmp_path):
    broker = EmbeddedBroker(tmp_path).start()
    port = broker.port
    broker.kill()
    assert broker.exit_code() == -signal.SIGKILL
    with broker:
        assert broker.port == port


def test_a_broker_that_ignores_sigterm_is_killed_at_the_deadline(tmp_path):
    broker = EmbeddedBroker(tmp_path).start()
    os.kill(broker.pid, signal.SIGSTOP)
    broker.stop(deadline_s=0.2)
    assert not broker.is_running()


def test_without_a_wheel_the_error_says_how_to_name_a_broker(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_broker.util, "find_spec", lambda _name: None)
    with pytest.raises(BrokerUnavailable, match="EXPORT_BROKER=localhost:9092"):
        EmbeddedBroker(tmp_path).start()


def test_a_broker_that_ends_at_once_tells_its_last_words(tmp_path, monkeypatch):
    script = tmp_path / "noida-db"
    script.write_text("#!/bin/sh\necho no space left >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(embedded_broker, "broker_binary", lambda: script)
    with pytest.raises(BrokerUnavailable, match="ended with 3: no space left"):
        EmbeddedBroker(tmp_path / "data").start()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_the_broker_ends_with_its_parent(tmp_path):
    program = textwrap.dedent(
        f"""
        import os, pathlib, signal
        from app.kafka.embedded_broker import EmbeddedBroker
        broker = EmbeddedBroker(pathlib.Path({str(tmp_path)!r})).start()
        print(broker.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert told.returncode == -signal.SIGKILL
    pid = int(told.stdout)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")
    with EmbeddedBroker(tmp_path) as broker:
        assert answers_kafka(broker.port)
