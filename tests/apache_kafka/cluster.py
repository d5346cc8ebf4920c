"""Apache Kafka for tests: one node or three on loopback, in KRaft mode, from Maven's jars.

Needs Java 17 or newer, and Maven for the first start; nothing but the standard library of Python.
`scripts/kafka` is its command line. The jars are fetched once into `.kafka/`, a folder that git
ignores. A node's folder holds its configuration, its log, its data and the file `pid`, so that a
test or a person can kill a single node and start it again.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).resolve().parents[2] / ".kafka"
LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 9092

# sysexits.h: EX_UNAVAILABLE; a build server tells "cannot run here" from "does not work".
EXIT_UNAVAILABLE = 69
# As `systemctl status` and other init scripts say it.
EXIT_NOT_RUNNING = 3

_OLDEST_JAVA = 17
_START_DEADLINE_S = 300.0
_STOP_DEADLINE_S = 120.0
_POLL_S = 0.05
_ANSWER_S = 10.0
# Metadata, version 1, of no topic at all (an empty list), client id null; Kafka protocol guide.
_METADATA_REQUEST = struct.pack(">hhihi", 3, 1, 7, -1, 0)

_LOGGING = """\
<Configuration>
  <Appenders>
    <Console name="out"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="out"/></Root>
    <Logger name="org.apache.kafka.common.config" level="WARN"/>
  </Loggers>
</Configuration>
"""


class KafkaUnavailable(RuntimeError):
    """Java or Maven is missing here, or too old."""


class KafkaFailed(RuntimeError):
    """Kafka could be run here, but did not start."""


def java_command() -> str:
    """Find a Java that Kafka runs on.

    Raises:
        KafkaUnavailable: There is none, or it is too old.
    """
    java = shutil.which("java")
    if java is None:
        raise KafkaUnavailable("Apache Kafka needs Java 17 or newer, and no `java` was found")
    asked = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', asked.stderr + asked.stdout)
    if found is None or int(found[1]) < _OLDEST_JAVA:
        version = found[1] if found else "of an unknown version"
        raise KafkaUnavailable(f"Apache Kafka needs Java 17 or newer; {java} is {version}")
    return java


def fetch_jars() -> Path:
    """Fetch Kafka's jars with Maven, once for each content of pom.xml.

    Returns:
        The folder of the jars.

    Raises:
        KafkaUnavailable: There is no Maven, and the jars have not been fetched before.
        KafkaFailed: Maven could not fetch them.
    """
    target = CACHE / f"jars-{zlib.crc32(POM.read_bytes()):08x}"
    if target.is_dir():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable("Apache Kafka's jars come by Maven, and no `mvn` was found")
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    draft = CACHE / f"draft-{os.getpid()}"
    sys.stderr.write(f"Fetching the jars of {POM.name} into {target} (once) ...\n")
    command = [maven, "-B", "-q", "-f", str(POM), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={draft}", "-DincludeScope=runtime"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        shutil.rmtree(draft, ignore_errors=True)
        raise KafkaFailed(f"Maven could not fetch the jars:\n{(ran.stdout + ran.stderr)[-2000:]}")
    try:
        draft.rename(target)
    except OSError:  # another process was quicker
        shutil.rmtree(draft)
    return target


@dataclass(frozen=True, slots=True)
class Plan:
    """What a cluster is made of; written into its folder, so that it starts again as it was.

    Attributes:
        cluster_id: Kafka's own id of the cluster.
        ports: Port for clients, by node.
        controller_ports: Port for the nodes among themselves, by node.
    """

    cluster_id: str
    ports: tuple[int, ...]
    controller_ports: tuple[int, ...]

    @property
    def node_count(self) -> int:
        """Number of nodes."""
        return len(self.ports)


class Node:
    """One Kafka process, broker and controller in one; started and killed by tests."""

    def __init__(self, number: int, plan: Plan, folder: Path) -> None:
        """Name it; nothing is started.

        Args:
            number: Kafka's node.id, from 1.
            plan: The cluster it belongs to.
            folder: Folder of this node alone.
        """
        self.number, self.plan, self.folder = number, plan, folder
        self.port = plan.ports[number - 1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id; None while it does not run, whoever started it."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        try:
            pid = int((self.folder / "pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if _runs_kafka(pid, self.folder) else None

    def start(self) -> None:
        """Start the process; it does not answer yet. Harmless when it runs.

        Raises:
            KafkaUnavailable: See `java_command` and `fetch_jars`.
            KafkaFailed: The folder cannot be formatted.
        """
        if self.pid is not None:
            return
        java = [java_command(), "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC"]
        # Tests are short: the second compiler would take a core and never pay for itself.
        java += ["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", f"{fetch_jars()}/*"]
        self.folder.mkdir(parents=True, exist_ok=True)
        logging = self.folder / "log4j2.xml"
        logging.write_text(_LOGGING)
        java.append(f"-Dlog4j2.configurationFile={logging}")
        properties = self.folder / "server.properties"
        properties.write_text(self._properties())
        self._format(java, properties)
        with (self.folder / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*java, "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.folder / "pid").write_text(f"{self._process.pid}\n")

    def answers(self) -> bool:
        """Tell whether it answers clients: it must name a broker, so it is one of the cluster."""
        return len(brokers_known_by(self.port)) > 0

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._end(signal.SIGKILL, _STOP_DEADLINE_S)

    def stop(self) -> None:
        """End it by SIGTERM, which moves its leaderships first; by SIGKILL after a deadline."""
        if not self._end(signal.SIGTERM, _STOP_DEADLINE_S):
            self.kill()

    def last_words(self) -> str:
        """The end of its log."""
        try:
            lines = (self.folder / "kafka.log").read_text(errors="replace").splitlines()
        except OSError:
            return "no log"
        return "\n".join(lines[-12:])

    def _end(self, number: signal.Signals, deadline_s: float) -> bool:
        pid = self.pid
        if pid is None:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        end = time.monotonic() + deadline_s
        while self.pid is not None:
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_S)
        return True

    def _format(self, java: Sequence[str], properties: Path) -> None:
        if (self.folder / "data" / "meta.properties").exists():
            return
        command = [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        command += ["-t", self.plan.cluster_id, "-c", str(properties)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise KafkaFailed(f"{self.folder} cannot be formatted:\n{ran.stdout}{ran.stderr}")

    def _properties(self) -> str:
        copies = self.plan.node_count
        # A cluster of three goes on with one of them dead, and a record that is acknowledged
        # stands on two disks.
        at_least = max(1, copies - 1)
        voters = ",".join(
            f"{number}@{LOOPBACK}:{port}"
            for number, port in enumerate(self.plan.controller_ports, 1)
        )
        own = self.plan.controller_ports[self.number - 1]
        settings = {
            "process.roles": "broker,controller",
            "node.id": self.number,
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"CLIENTS://{LOOPBACK}:{self.port},CONTROLLER://{LOOPBACK}:{own}",
            "advertised.listeners": f"CLIENTS://{LOOPBACK}:{self.port}",
            "inter.broker.listener.name": "CLIENTS",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.folder / "data",
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": at_least,
            "offsets.topic.replication.factor": copies,
            # 50 is the default; tests make thousands of files with it, and leader changes slow.
            "offsets.topic.num.partitions": 6,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": at_least,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": at_least,
            "group.initial.rebalance.delay.ms": 0,
            # So that a test of compaction need not wait 15 s for the cleaner to look.
            "log.cleaner.backoff.ms": 500,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


class Cluster:
    """The nodes of one folder; use it as a context manager, or start and stop it.

    Example:
        `with Cluster.planned(folder, node_count=3) as cluster:`
        `    cluster.nodes[0].kill(); cluster.nodes[0].start(); cluster.wait_until_ready()`
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Take what `planned` or `found` has made."""
        self.folder, self.plan = folder, plan
        self.nodes = tuple(
            Node(number, plan, folder / f"node-{number}")
            for number in range(1, plan.node_count + 1)
        )

    @classmethod
    def planned(cls, folder: Path, *, node_count: int = 1, port: int = 0) -> "Cluster":
        """Plan a cluster, or take the one that the folder already has; nothing is started.

        Args:
            folder: Folder of the cluster, made when missing.
            node_count: 1 or 3.
            port: Port of the first node, the others follow; 0: any free ones.

        Raises:
            KafkaFailed: The folder has a cluster of another size or port.
        """
        if (cluster := cls.found(folder)) is not None:
            ports = cluster.plan.ports
            if len(ports) != node_count or port not in (0, ports[0]):
                raise KafkaFailed(
                    f"{folder} has a cluster of {len(ports)} nodes at port {ports[0]}: stop it and "
                    "remove the folder, or name another one"
                )
            return cluster
        free = _free_ports(2 * node_count)
        ports = tuple(range(port, port + node_count)) if port else tuple(free[:node_count])
        plan = Plan(_new_cluster_id(), ports, tuple(free[node_count:]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(
            json.dumps([plan.cluster_id, plan.ports, plan.controller_ports])
        )
        return cls(folder, plan)

    @classmethod
    def found(cls, folder: Path) -> "Cluster | None":
        """Take the cluster of a folder; None when there is none."""
        try:
            cluster_id, ports, controller_ports = json.loads((folder / "plan.json").read_text())
        except OSError:
            return None
        return cls(folder, Plan(cluster_id, tuple(ports), tuple(controller_ports)))

    @property
    def address(self) -> str:
        """Bootstrap address for clients: all nodes."""
        return ",".join(f"{LOOPBACK}:{port}" for port in self.plan.ports)

    def start(self) -> Self:
        """Start the nodes that do not run, and wait until each of them knows all of them.

        Raises:
            KafkaUnavailable: Java or Maven is missing.
            KafkaFailed: A node ended, or did not answer in time.
        """
        for node in self.nodes:
            node.start()
        self.wait_until_ready()
        return self

    def wait_until_ready(self, deadline_s: float = _START_DEADLINE_S) -> None:
        """Wait until each node knows all of them.

        Raises:
            KafkaFailed: A node ended, or they do not know each other in time.
        """
        end = time.monotonic() + deadline_s
        for node in self.nodes:
            while len(brokers_known_by(node.port)) < len(self.nodes):
                if node.pid is None:
                    raise KafkaFailed(f"node {node.number} ended:\n{node.last_words()}")
                if time.monotonic() > end:
                    raise KafkaFailed(f"node {node.number} is not ready:\n{node.last_words()}")
                time.sleep(_POLL_S)

    def stop(self) -> None:
        """End all nodes by SIGTERM, together: the last one alone could not hand anything over."""
        for node in self.nodes:
            if (pid := node.pid) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        """Start it; a start that fails leaves nothing behind."""
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


def brokers_known_by(port: int) -> tuple[int, ...]:
    """Ask a node for metadata, as every client does first; the ports of the brokers it names."""
    try:
        with socket.create_connection((LOOPBACK, port), _ANSWER_S) as connection:
            connection.settimeout(_ANSWER_S)
            request = _METADATA_REQUEST
            connection.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
            answer = connection.recv(size, socket.MSG_WAITALL)
    except (OSError, struct.error):
        return ()
    # Metadata, version 1: correlation id, then an array of (id, host, port, rack).
    (count,) = struct.unpack_from(">i", answer, 4)
    at, ports = 8, []
    for _ in range(count):
        (host_size,) = struct.unpack_from(">h", answer, at + 4)
        at += 6 + host_size
        port_number, rack_size = struct.unpack_from(">ih", answer, at)
        at += 6 + max(0, rack_size)
        ports.append(port_number)
    return tuple(ports)


def _new_cluster_id() -> str:
    """Make an id as Kafka does: one that begins with a dash would be taken for an option."""
    while True:
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id


def _free_ports(count: int) -> list[int]:
    # As app/kafka/free_port.py, which is not there before the environment is: a node that starts
    # again must find its port, which no client's connection may have got meanwhile.
    found: list[int] = []
    for port in random.sample(range(20_000, 32_768), 1_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            found.append(port)
        if len(found) == count:
            break
    return found


def _runs_kafka(pid: int, folder: Path) -> bool:
    """Tell whether this id is still the node's: numbers are given again."""
    try:
        words = subprocess.run(
            ["ps", "-o", "stat=,args=", "-p", str(pid), "-ww"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    except OSError:
        return False
    return str(folder) in words and not words.lstrip().startswith("Z")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/kafka",
        description="Apache Kafka for tests: KRaft, loopback, jars by Maven.",
        epilog=f"Exit status {EXIT_UNAVAILABLE}: Java or Maven is missing; "
        f"{EXIT_NOT_RUNNING}: `status` found it not running.",
    )
    parser.add_argument("what", choices=["start", "stop", "status"])
    parser.add_argument("--nodes", type=int, choices=[1, 3], default=1, help="default: 1")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="of the first node; 0: any free one"
    )
    parser.add_argument("--dir", type=Path, default=CACHE / "cluster", help="default: .kafka")
    asked = parser.parse_args(words)
    folder = asked.dir.absolute()
    try:
        if asked.what == "start":
            cluster = Cluster.planned(folder, node_count=asked.nodes, port=asked.port)
            with contextlib.ExitStack() as unless_started:
                unless_started.callback(cluster.stop)
                sys.stdout.write(f"{cluster.start().address}\n")
                unless_started.pop_all()
            return 0
    except KafkaUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_UNAVAILABLE
    except KafkaFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    cluster_or_none = Cluster.found(folder)
    if cluster_or_none is None:
        sys.stderr.write(f"no cluster in {folder}\n")
        return 0 if asked.what == "stop" else EXIT_NOT_RUNNING
    return _stop(cluster_or_none) if asked.what == "stop" else _show(cluster_or_none)


def _stop(cluster: Cluster) -> int:
    cluster.stop()
    return 0


def _show(cluster: Cluster) -> int:
    running = [node for node in cluster.nodes if node.answers()]
    sys.stdout.write(f"{cluster.address}\n")
    for node in cluster.nodes:
        state = "answers" if node in running else "starts or hangs" if node.pid else "is down"
        sys.stdout.write(
            f"node {node.number} {state}: port {node.port}, pid {node.pid}, {node.folder}\n"
        )
    return 0 if len(running) == len(cluster.nodes) else EXIT_NOT_RUNNING


if __name__ == "__main__":
    sys.exit(main())
