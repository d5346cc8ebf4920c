"""The service's processes one by one, as a container platform runs them, and a broker apart."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.kafka.embedded_broker import EmbeddedBroker
from app.supervisor.supervise import choose_port

ROOT = Path(__file__).resolve().parents[2]
EXIT_BUG = 70


class Processes:
    """An ingress, a coordinator and a worker; one that leaves with 70 is started again.

    Attributes:
        data_dir: Data folder with the demo layer.
        broker: The embedded broker, started and stopped by the test.
        url: Address of the ingress.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.broker = EmbeddedBroker(data_dir / "broker", choose_port("127.0.0.1", 0))
        self._port = choose_port("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._port}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.left: list[tuple[str, int]] = []

    def start(self, *roles: str) -> None:
        """Start processes by their role."""
        for role in roles:
            self.running[role] = self._popen(role)

    def restart_the_left(self) -> None:
        """Start again who has left with 70, as a platform does; anything else is an error."""
        for role, process in self.running.items():
            status = process.poll()
            if status is not None:
                self.left.append((role, status))
                assert status == EXIT_BUG, (role, status, self.text(role)[-2000:])
                self.running[role] = self._popen(role)

    def text(self, role: str) -> str:
        """What a role has printed, over all its lives."""
        return (self.data_dir / f"{role}.out").read_text()

    def events(self, role: str, event: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        lines = [line for line in self.text(role).splitlines() if line.startswith("{")]
        return [told for line in lines if (told := json.loads(line))["event"] == event]

    def end(self) -> None:
        """Stop everything, orderly where possible."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.broker.stop()

    def _popen(self, role: str) -> subprocess.Popen[bytes]:
        with (self.data_dir / f"{role}.out").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "app", role],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={
                    **os.environ,
                    "EXPORT_BROKER": self.broker.address,
                    "EXPORT_EMBEDDED": "true",
                    "EXPORT_DATA_DIR": str(self.data_dir),
                    "EXPORT_PORT": str(self._port),
                    "EXPORT_RANGE_BYTES": "200000",
                    "EXPORT_INSTANCE_ID": f"{role}-{socket.gethostname()}",
                    "PYTHONUNBUFFERED": "1",
                },
            )
