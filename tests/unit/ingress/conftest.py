"""Records as registrar and completion write them, for tests of the view."""

from collections.abc import Callable

import pytest

from app.domain.records import ExportFinished, ExportProgress, RequestProgress, TilesTold

EXPORT = "e" * 64
ATTEMPT = "1795404000000-17"


class Say:
    """Makes records; every field has a value that fits the others."""

    @staticmethod
    def request(request_id: str, accepted_at_ms: int = 1_000, **changes) -> RequestProgress:
        fields = {
            "request_id": request_id,
            "at_ms": accepted_at_ms,
            "client": "anonymous",
            "layer_id": "l",
            "bbox_json": "[1,2,3,4]",
            "target_resolution_deg": None,
            "accepted_at_ms": accepted_at_ms,
            "verdict": "Accepted",
            "http_status": 200,
            "reason": None,
            "export_id": EXPORT,
            "repeats": None,
        }
        return RequestProgress(**fields | changes)

    @staticmethod
    def export(state: str = "In-Progress", done: int = 0, **changes) -> ExportProgress:
        fields = {
            "export_id": EXPORT,
            "at_ms": 2_000,
            "attempt": ATTEMPT,
            "state": state,
            "layer_id": "l",
            "priority": 1000,
            "tiles_expected": 100,
            "tiles_done": done,
            "tiles_missing": 0,
            "bytes_written": 0,
            "tiles_per_s": 0.0,
            "estimated_bytes": 1_000,
            "expires_at_ms": 0,
            "pinned": False,
            "reason": None,
            "changes": (),
            "learned": (),
        }
        return ExportProgress(**fields | changes)

    @staticmethod
    def result(request_id: str, status: str = "Completed", **changes) -> ExportFinished:
        success = status == "Completed"
        uri = f"http://x/downloads/{EXPORT}/{ATTEMPT}/p" if success else ""
        fields = {
            "request_id": request_id,
            "layer_id": "l",
            "success": success,
            "status": status,
            "error_reason": None if success else "no space left",
            "bbox_json": "[1,2,3,4]",
            "target_resolution_deg": None,
            "package_name": "p.gpkg" if success else "",
            "file_uri": f"{uri}.gpkg" if success else "",
            "metadata_uri": f"{uri}.json" if success else "",
            "file_bytes": 225_280 if success else 0,
            "sha256": "5c" * 32 if success else "",
            "tiles": TilesTold(100, 97, 3) if success else TilesTold(0, 0, 0),
            "expiration_time": "1970-01-31T00:00:00.000Z" if success else "",
            "finished_at": "1970-01-01T00:00:09.000Z",
        }
        return ExportFinished(**fields | changes)


@pytest.fixture
def say() -> type[Say]:
    return Say


@pytest.fixture
def told(say) -> Callable:
    """Tell a view any records: `told(view, say.request("r"), say.export())`."""

    def tell(view, *records) -> None:
        for record in records:
            match record:
                case RequestProgress():
                    view.request_progressed(record)
                case ExportProgress():
                    view.export_progressed(record)
                case ExportFinished():
                    view.export_finished(record)

    return tell
