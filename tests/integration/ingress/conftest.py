"""The ingress with its real parts: broker, HTTP, folders; and a registrar that plays a script."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import aiohttp
import orjson
import pytest

from app.catalogue.folder import FolderCatalogue
from app.domain.decision import Send
from app.domain.records import (
    ExportCommanded,
    ExportFinished,
    ExportProgress,
    ExportRequested,
    RequestProgress,
    TilesTold,
)
from app.ingress import broker as ingress_broker
from app.ingress.run import serving
from app.kafka import backlog
from app.kafka.codec import Codec
from app.kafka.free_port import free_port
from app.kafka.producer import RecordProducer
from app.kafka.topic_view import TopicView, ViewedRecord
from app.kafka.topics import EXPORT_REQUESTS, Topics
from app.settings import Settings
from app.store.artifact_store import ArtifactStore
from tests.integration.ingress.asking import is_ready
from tests.token_issuer import Issuer

LAYER_ID = "0c3e455f-4aeb-4258-982d-f7773469a92d"
LAYER = {
    "id": LAYER_ID,
    "productId": "BLUE_MARBLE",
    "productVersion": "1.0",
    "maxResolutionDeg": 0.0000429153442382812,
    "footprint": {
        "type": "Polygon",
        "coordinates": [[[34, 31], [36, 31], [36, 33], [34, 33], [34, 31]]],
    },
    "source": {"type": "folder", "path": "/tiles"},
}
GOLDEN = {
    "dbId": LAYER_ID,
    "bbox": [34.811938017107494, 31.95475033759175, 34.82237261707599, 31.96426962177354],
    "targetResolution": 0.0000429153442382812,
}
ATTEMPT = "1795404000000-17"
NAME = "BLUE_MARBLE_1.0_z14_0123456789ab_1795404000000-17"
EXPORT_ID = "e" * 64


Script = Callable[[ExportRequested], list[Send]]


class Say:
    """Records as registrar and completion send them."""

    @staticmethod
    def progress(asked: ExportRequested, verdict: str = "Accepted", **changes) -> Send:
        fields = {
            "request_id": asked.request_id,
            "at_ms": 1,
            "client": asked.client,
            "layer_id": asked.layer_id,
            "bbox_json": asked.bbox_json,
            "target_resolution_deg": asked.target_resolution_deg,
            "accepted_at_ms": 1,
            "verdict": verdict,
            "http_status": 200,
            "reason": None,
            "export_id": EXPORT_ID,
            "repeats": None,
        }
        return Send("export-progress", asked.request_id, RequestProgress(**fields | changes))

    @staticmethod
    def export(done: int, state: str = "In-Progress", **changes) -> Send:
        fields = {
            "export_id": EXPORT_ID,
            "at_ms": 1,
            "attempt": ATTEMPT,
            "state": state,
            "layer_id": LAYER_ID,
            "priority": 1000,
            "tiles_expected": 18,
            "tiles_done": done,
            "tiles_missing": 0,
            "bytes_written": 0,
            "tiles_per_s": 0.0,
            "estimated_bytes": 225_000,
            "expires_at_ms": 0,
            "pinned": False,
            "reason": None,
            "changes": (),
            "learned": (),
        }
        return Send("export-progress", EXPORT_ID, ExportProgress(**fields | changes))

    @staticmethod
    def finished(request_id: str, status: str = "Completed", **changes) -> Send:
        files = f"http://x/downloads/{EXPORT_ID}/{ATTEMPT}/{NAME}"
        success = status == "Completed"
        fields = {
            "request_id": request_id,
            "layer_id": LAYER_ID,
            "success": success,
            "status": status,
            "error_reason": None if success else "no space left",
            "bbox_json": "[1,2,3,4]",
            "target_resolution_deg": 0.5,
            "package_name": f"{NAME}.gpkg" if success else "",
            "file_uri": f"{files}.gpkg" if success else "",
            "metadata_uri": f"{files}.json" if success else "",
            "file_bytes": 225_280,
            "sha256": "5c" * 32,
            "tiles": TilesTold(18, 17, 1),
            "expiration_time": "2099-12-23T03:30:00.000Z" if success else "",
            "finished_at": "2026-11-23T03:30:00.000Z",
        }
        return Send("export-finished", request_id, ExportFinished(**fields | changes))


@dataclass
class Peer:
    """Plays registrar and completion: answers each request as the test's script says."""

    producer: RecordProducer
    script: Script = lambda asked: [Say.progress(asked)]
    asked: list[ExportRequested] = field(default_factory=list)
    on_command: Callable[[ExportCommanded], list[Send]] = lambda _command: []
    commands: list[ExportCommanded] = field(default_factory=list)
    inbox: asyncio.Queue[ExportRequested | ExportCommanded] = field(default_factory=asyncio.Queue)

    def take(self, viewed: ViewedRecord) -> None:
        assert isinstance(viewed.record, ExportRequested | ExportCommanded)
        assert viewed.key == viewed.record.request_id
        known = self.asked if isinstance(viewed.record, ExportRequested) else self.commands
        known.append(viewed.record)
        self.inbox.put_nowait(viewed.record)

    async def answer_forever(self) -> None:
        while True:
            asked = await self.inbox.get()
            is_request = isinstance(asked, ExportRequested)
            await self.send(*(self.script(asked) if is_request else self.on_command(asked)))

    async def send(self, *sends: Send) -> None:
        for send in sends:
            await self.producer.send(send.topic, send.key, send.record)

    async def forget(self, topic: str, key: str) -> None:
        """Write a tombstone."""
        await self.producer._producer.send_and_wait(
            self.producer._topics.name(topic), None, key=key.encode()
        )


@asynccontextmanager
async def running(*coroutines) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def say() -> type[Say]:
    """The records that the peer can send."""
    return Say


@pytest.fixture
async def peer(broker: str, topics: Topics, codec: Codec) -> AsyncIterator[Peer]:
    async with RecordProducer(broker, codec, topics) as producer:
        played = Peer(producer)
        reader = TopicView(broker, topics, [EXPORT_REQUESTS], codec, on_record=played.take)
        async with running(reader.run(), played.answer_forever()):
            await asyncio.wait_for(reader.caught_up.wait(), 60)
            yield played


@pytest.fixture
def port() -> int:
    return free_port("127.0.0.1")


@pytest.fixture(scope="module")
def unused_port() -> int:
    """A port for an ingress that a whole module shares."""
    return free_port("127.0.0.1")


BUSY_S = 60.0


@pytest.fixture(autouse=True)
def patient_with_the_shared_broker(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wait as long for the broker as a busy machine may take, where it is there for certain.

    What is given up in the middle of a connection leaves it open, and aiokafka warns of that.
    """
    if "broker" in request.fixturenames and "own_broker" not in request.fixturenames:
        monkeypatch.setattr(ingress_broker, "PROBE_TIMEOUT_S", BUSY_S)
        monkeypatch.setattr(ingress_broker, "ACK_TIMEOUT_S", BUSY_S)
        # Of topics that are not there it hears nothing, however long it waits.
        if "unready_client" not in request.fixturenames:
            monkeypatch.setattr(backlog, "ANSWER_MS", int(BUSY_S * 1000))


@pytest.fixture
def verdict_wait_s(request: pytest.FixtureRequest) -> float:
    """How long answers wait for the registrar, seconds: not long where there is none.

    Where one is played, tests are about what it says, and it may have to wait for the processor.
    """
    return 6.0 if "peer" in request.fixturenames else 1.0


@pytest.fixture
def settings(tmp_path: Path, topic_prefix: str, port: int, verdict_wait_s: float) -> Settings:
    made = Settings(
        data_dir=tmp_path,
        port=port,
        topic_prefix=topic_prefix,
        verdict_wait_s=verdict_wait_s,
        max_tiles=10_000,
        max_vertices=50,
        max_body_bytes=100_000,
    )
    made.catalogue_dir.mkdir()
    made.exports_dir.mkdir()
    (made.catalogue_dir / "blue-marble.json").write_bytes(orjson.dumps(LAYER))
    return made


@pytest.fixture
def package(settings: Settings) -> Path:
    """A finished package of 100,000 bytes and its metadata."""
    folder = settings.exports_dir / EXPORT_ID / ATTEMPT
    folder.mkdir(parents=True)
    path = folder / f"{NAME}.gpkg"
    path.write_bytes(bytes(range(250)) * 400)
    digest = sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_bytes(orjson.dumps({"sha256": digest}))
    return path


@asynccontextmanager
async def serve(settings: Settings, broker: str) -> AsyncIterator[aiohttp.ClientSession]:
    catalogue = FolderCatalogue(settings.catalogue_dir)
    files = ArtifactStore(settings.exports_dir)
    async with (
        serving(settings, bootstrap=broker, catalogue=catalogue, files=files),
        aiohttp.ClientSession(settings.base_url) as client,
    ):
        yield client


@pytest.fixture
async def client(
    settings: Settings, broker: str, topics: Topics, eventually
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of an ingress that is ready."""
    async with serve(settings, broker) as session:
        await eventually(lambda: is_ready(session))
        yield session


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """Whom the guarded service trusts."""
    return Issuer()


@pytest.fixture
def guarded(settings: Settings, issuer: Issuer, tmp_path: Path) -> Settings:
    """Settings with keys."""
    path = tmp_path / "jwks.json"
    path.write_bytes(issuer.jwks())
    return settings.model_copy(
        update={"jwks_file": path, "cors_origins": ("https://Maps.example:443/",)}
    )


@pytest.fixture
async def service(guarded, broker, topics, eventually) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of an ingress that asks for tokens."""
    async with serve(guarded, broker) as session:
        await eventually(lambda: is_ready(session))
        yield session


@pytest.fixture
def where(package) -> str:
    """Path of the finished package."""
    return f"/downloads/{EXPORT_ID}/{ATTEMPT}/{package.name}"


@pytest.fixture
def ingress_of():
    """Serve with a broker of the test's choice: `async with ingress_of(settings, address)`."""
    return serve


@pytest.fixture
def export_folder(settings: Settings) -> ArtifactStore:
    """The store that the ingress reads."""
    return ArtifactStore(settings.exports_dir)


@pytest.fixture
async def unready_client(settings: Settings, broker: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of an ingress whose topics are not there: it serves what needs none."""
    async with serve(settings, broker) as session:
        yield session


@pytest.fixture
def golden() -> dict:
    """The body of the golden export: 18 tiles."""
    return dict(GOLDEN)
