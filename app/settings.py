"""All settings, read once from the environment (`EXPORT_...`); units are in the names."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

DAY_S = 24 * 60 * 60


class Settings(BaseSettings):
    """Settings of one process; every field is also the environment variable EXPORT_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="EXPORT_", frozen=True, use_attribute_docstrings=True
    )

    broker: str | None = None
    """Kafka bootstrap address, `host:port[,host:port]`; None: start the embedded broker."""

    embedded: bool = False
    """The broker is the embedded one: idle consumers must be slowed down by us."""

    topic_prefix: str = ""
    """Put before every topic and group, so that several services share a broker."""

    replication_factor: int = 1
    """Copies of each partition of topics that `topics` creates; 3 on a cluster."""

    instance_id: str | None = None
    """Stable name of this process in its consumer group; None: a new member at each start."""

    run_name: str | None = None
    """Name of this process's own folder below `<data_dir>/run`; None: `instance_id`, else kind and
    host, which several processes of a kind on one host would share."""

    data_dir: Path = Path("data")
    """Folder of catalogue, layers and exports; all workers and ingresses share it."""

    source_roots: tuple[Path, ...] = ()
    """Folders that layer records may name as their source, besides `<data_dir>/layers`."""

    host: str = "127.0.0.1"
    """Address that the ingress binds to; loopback, because there is no sign-in yet."""

    port: int = Field(default=8080, ge=0, le=65535)
    """TCP port of the ingress."""

    public_url: str | None = None
    """Address that `fileUri` is built from; None: `http://<host>:<port>`."""

    max_body_bytes: int = 1_000_000
    """Largest request body; beyond it the answer is 413."""

    max_vertices: int = 20_000
    """Most vertices of a polygon; more would make planning slow for everybody."""

    max_tiles: int = 50_000_000
    """Most tiles of one export; beyond it the answer is 413."""

    verdict_wait_s: float = 2.0
    """How long `POST /create` waits for the registrar before it answers Pending."""

    catalogue_timeout_s: float = 5.0
    """Deadline of one catalogue look-up."""

    range_bytes: int = 64 * 1024 * 1024
    """Size of a range: one transaction and one work record, 1 to 5 s for most sources."""

    range_tiles: int = 50_000
    """Most tiles of a range, where tiles are tiny: each costs time whatever its size."""

    removal_grace_s: int = 3600
    """Seconds that files stay which may still be in somebody's hands: a package that was just
    offered after it expired, and what a late writer leaves in a folder that was removed."""

    max_running_exports: int = 32
    """Exports that run at once; the others wait by priority, so open shards stay few."""

    package_days: int = 30
    """Days that a finished package is kept."""

    webhook_timeout_s: float = 10.0
    """Deadline of one webhook call."""

    @property
    def base_url(self) -> str:
        """Address that links start with, without a slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def catalogue_dir(self) -> Path:
        """Folder of layer records."""
        return self.data_dir / "catalogue"

    @property
    def layers_dir(self) -> Path:
        """Folder of tile pyramids; the first root that sources may lie in."""
        return self.data_dir / "layers"

    @property
    def exports_dir(self) -> Path:
        """Folder of shards and packages."""
        return self.data_dir / "exports"
