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


def until(condition, deadline_s=120.0):
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def test_a_started_broker_answers_kafka_and_a_stopped_one_does_not(tmp_path):
    with EmbeddedBroker(tmp_path) as broker:
        assert re.fullmatch(r"127\.0\.0\.1:\d+", broker.address)
        assert answers_kafka(broker.port, timeout_s=60)
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
            assert answers_kafka(second.port, timeout_s=60)


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


SLOW_SAVE = """
import signal, sys, time
from pathlib import Path

def save(*_):
    with Path(sys.argv[1], "kafka.tmp").open("w") as unfinished:
        for _ in range(40):
            unfinished.write("more")
            unfinished.flush()
            time.sleep(0.1)
    Path(sys.argv[1], "kafka.tmp").rename(Path(sys.argv[1], "kafka.json"))
    time.sleep(2.5)
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
signal.pause()
"""


def test_a_broker_that_is_still_saving_a_large_state_is_waited_for(tmp_path):
    command = [sys.executable, "-c", SLOW_SAVE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        broker = EmbeddedBroker(tmp_path)
        broker._process = process
        broker.stop(deadline_s=3)  # more than a busy machine lets pass between two writes
        assert process.returncode == 0
    assert (tmp_path / "kafka.json").read_text() == 40 * "more"


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


@pytest.mark.parametrize("state", ["", '{"topics": [["a', "garbage", "{}"])
def test_a_state_that_cannot_be_read_is_named_with_what_to_do(tmp_path, state):
    (tmp_path / "kafka.json").write_text(state)
    with pytest.raises(BrokerUnavailable) as refused:
        EmbeddedBroker(tmp_path).start()
    told = str(refused.value)
    assert told.startswith(f"the broker cannot read the last state in {tmp_path / 'kafka.json'} (")
    assert f"move the folder {tmp_path} away" in told
    assert (tmp_path / "kafka.json").read_text() == state


def test_only_the_last_words_of_this_start_are_told(tmp_path, monkeypatch):
    script = tmp_path / "noida-db"
    script.write_text("#!/bin/sh\necho another matter >&2\nexit 3\n")
    script.chmod(0o755)
    (tmp_path / "broker.log").write_text("failed to parse kafka snapshot: long ago\n")
    monkeypatch.setattr(embedded_broker, "broker_binary", lambda: script)
    with pytest.raises(BrokerUnavailable, match=r"^the broker ended with 3: another matter$"):
        EmbeddedBroker(tmp_path).start()


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
        assert answers_kafka(broker.port, timeout_s=60)
