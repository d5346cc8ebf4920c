"""All settings, read once from the environment (`EXPORT_...`); units are in the names.

An empty variable is one that is not set; `none` is None, e.g. a limit that there is not.
"""

import re
from base64 import b64decode
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from app.domain.callback_target import LOOPBACK, Network
from app.domain.client_limits import ClientLimits
from app.domain.errors import ExportServiceError

DAY_S = 24 * 60 * 60

MOST_DAYS = 36_500
"""A hundred years: times beyond the year 9999 cannot be written."""

SECRETS = frozenset({"link_secret", "webhook_secrets"})
"""Settings whose values are never told."""


class WrongSetting(ExportServiceError):
    """A setting cannot be used; the message names its variable, value and what is wrong with it."""


class Settings(BaseSettings):
    """Settings of one process; every field is also the environment variable EXPORT_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="EXPORT_",
        env_ignore_empty=True,
        env_parse_none_str="none",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    broker: str | None = None
    """Kafka bootstrap address, `host:port[,host:port]`; None: start the embedded broker."""

    embedded: bool = False
    """The broker is the embedded one: idle consumers must be slowed down by us."""

    topic_prefix: str = Field(default="", max_length=100, pattern=r"^[A-Za-z0-9._-]*$")
    """Put before every topic and group, so that several services share a broker."""

    replication_factor: int = Field(default=1, ge=1, le=32_767)
    """Copies of each partition of topics that `topics` creates; 3 on a cluster."""

    instance_id: str | None = None
    """Stable name of this process in its consumer group; None: a new member at each start."""

    run_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of this process's own folder below `<data_dir>/run`; None: `instance_id`, else kind and
    host, which several processes of a kind on one host would share."""

    data_dir: Path = Path("data")
    """Folder of catalogue, layers and exports; all workers and ingresses share it."""

    source_roots: tuple[Path, ...] = ()
    """Folders that layer records may name as their source, besides `<data_dir>/layers`."""

    host: str = "127.0.0.1"
    """Address that the ingress binds to; beyond loopback it needs keys, or `open_to_all`."""

    port: int = Field(default=8080, ge=0, le=65535)
    """TCP port of the ingress."""

    public_url: str | None = None
    """Address that `fileUri` is built from; None: `http://<host>:<port>`."""

    jwks_file: Path | None = None
    """JWKS with the keys that sign tokens; None, and no `jwks_url`: everybody is `anonymous`."""

    jwks_url: str | None = None
    """Where the JWKS is fetched, instead of a file; the keys are kept while it is down."""

    jwks_max_age_s: float = Field(default=600.0, gt=0)
    """Keys of a URL are fetched anew before they are older, seconds: how long one that was
    withdrawn may still be taken."""

    jwks_ask_again_s: float = Field(default=10.0, gt=0)
    """Unknown kids make the ingress fetch at most this often, seconds: none floods the issuer
    through it, and a new key waits no longer, however many unknown ones are sent meanwhile."""

    jwt_issuer: str | None = None
    """The claim `iss` that tokens must have; None: the key alone decides."""

    admin_claim: str = "role"
    """The claim of a token that makes an administrator, who sees and commands all exports."""

    admin_value: str = "admin"
    """What `admin_claim` must be, or hold when it is a list."""

    open_to_all: bool = False
    """Listen beyond loopback though no keys are configured: whoever reaches the port may do all."""

    link_secret: SecretStr | None = None
    """Signs download links and seals requests; None: `<data_dir>/link_secret`, made at the first
    start and shared."""

    link_hours: float = Field(default=24.0, gt=0)
    """How long a presigned download link is good, hours."""

    cors_origins: tuple[str, ...] = ()
    """Web origins whose pages may use the API, a JSON list; `*`: all. Empty: our own page only."""

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks (CIDR) whose X-Forwarded-* and Forwarded headers are believed, a JSON list."""

    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Largest request body; beyond it the answer is 413."""

    max_vertices: int = Field(default=20_000, ge=4)
    """Most vertices of a polygon; more would make planning slow for everybody."""

    max_tiles: int = Field(default=50_000_000, ge=1)
    """Most tiles of one export; beyond it the answer is 413."""

    verdict_wait_s: float = Field(default=2.0, ge=0, le=60)
    """How long answers wait for the registrar, seconds: that of `POST /create` before it says
    Pending, that to an order before it tells the export without the order's effect."""

    catalogue_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Deadline of one catalogue look-up."""

    range_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    """Size of a range: one transaction and one work record, 1 to 5 s for most sources."""

    range_tiles: int = Field(default=50_000, ge=1)
    """Most tiles of a range, where tiles are tiny: each costs time whatever its size."""

    removal_grace_s: int = Field(default=3600, ge=0)
    """Seconds that files stay which may still be in somebody's hands: a package that was just
    offered after it expired, and what a late writer leaves in a folder that was removed."""

    max_running_exports: int = Field(default=32, ge=1)
    """Exports that run at once; the others wait by priority, so open shards stay few."""

    spare_running_exports: int = Field(default=8, ge=0)
    """Places besides for small exports, of three ranges at most: running giants do not hold them
    up, only what is ordered of these already."""

    package_days: float = Field(default=30, gt=0, le=MOST_DAYS)
    """Days that a finished package is kept."""

    max_requests_per_minute: int | None = Field(default=12_000, ge=1)
    """Requests of one client within any minute; beyond it 429. None: as many as it likes."""

    max_live_exports_per_client: int | None = Field(default=10_000, ge=1)
    """Exports of one client that wait or run at a time; beyond it 429. None: any number."""

    max_area_km2: float | None = Field(default=None, gt=0)
    """Area of one export within its layer, square kilometres; beyond it 413. None: any."""

    max_export_bytes: int | None = Field(default=None, ge=1)
    """Largest estimate of one export, bytes; beyond it 413. None: what fits the disk."""

    trust_kafka_clients: bool = True
    """Whether requests straight from Kafka name their client; else all of them are one client's.
    What an ingress has sealed is its client's all the same; workers need its secret for that."""

    package_max_days: int = Field(default=365, ge=1, le=MOST_DAYS)
    """Days ahead to which a caller may extend a package; whoever wants it for longer pins it."""

    expiring_notice_days: float = Field(default=3, gt=0, le=MOST_DAYS)
    """Days before its package goes that a request's webhooks hear of it; half of `package_days`
    where that is less."""

    webhook_timeout_s: float = Field(default=10.0, gt=0, le=60)
    """Deadline of one webhook call with its redirects."""

    webhook_calls_per_host: int = Field(default=8, ge=1, le=64)
    """Webhooks of one host and port under way at a time, of 64 in all: a slow one leaves room."""

    webhook_secrets: tuple[SecretStr, ...] = ()
    """Keys that sign webhooks, each `whsec_` and 24 to 64 bytes in base64 (Standard Webhooks);
    while a new one takes over, both: each call then has two signatures. Empty: not signed."""

    webhook_allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks, like 10.0.0.0/8, that webhooks may reach though they are not public. Loopback is
    allowed while `host` is loopback: then nobody else can ask."""

    @field_validator("webhook_secrets")
    @classmethod
    def _check_secrets(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            _check_webhook_secret(secret.get_secret_value())
        return secrets

    @field_validator("broker")
    @classmethod
    def _check_broker(cls, broker: str | None) -> str | None:
        for address in (broker or "host:1").split(","):
            host, _, port = address.strip().rpartition(":")
            if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
                raise ValueError("addresses are host:port, separated by commas")
        return broker

    @field_validator("public_url", "jwks_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("an http or https address is needed")
        return url

    @property
    def callback_networks(self) -> tuple[Network, ...]:
        """Networks that webhooks may reach though they are not public."""
        try:
            address = ip_address("127.0.0.1" if self.host == "localhost" else self.host)
        except ValueError:
            return self.webhook_allowed_networks
        return (*self.webhook_allowed_networks, *(LOOPBACK if address.is_loopback else ()))

    @model_validator(mode="after")
    def _has_one_place_of_keys(self) -> Self:
        if self.jwks_file is not None and self.jwks_url is not None:
            raise ValueError("jwks_file and jwks_url are both set; choose one")
        return self

    @property
    def has_keys(self) -> bool:
        """Whether callers must show a token."""
        return self.jwks_file is not None or self.jwks_url is not None

    @property
    def client_limits(self) -> ClientLimits:
        """How much one client may ask for."""
        return ClientLimits(
            max_requests_per_minute=self.max_requests_per_minute,
            max_live_exports=self.max_live_exports_per_client,
            max_export_bytes=self.max_export_bytes,
        )

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


def read_settings(**chosen: Any) -> Settings:
    """The settings of the environment, some of them replaced.

    Args:
        chosen: Fields of Settings that do not come from the environment.

    Raises:
        WrongSetting: At least one cannot be used; all of them are named.

    >>> read_settings(port=8081).port
    8081
    >>> read_settings(port=80_000)
    Traceback (most recent call last):
        ...
    app.settings.WrongSetting: EXPORT_PORT is 80000: input should be less than or equal to 65535
    """
    try:
        return Settings(**chosen)
    except ValidationError as error:
        raise WrongSetting(_told(error)) from None  # its context would tell secrets
    except SettingsError as error:
        name = re.search(r'field "(\w+)"', str(error))
        variable = f"EXPORT_{name[1].upper()}" if name else "a setting"
        raise WrongSetting(f'{variable} must be a JSON list, like ["a"]') from None


def _told(error: ValidationError) -> str:
    told: dict[str, str] = {}
    for one in error.errors(include_url=False):
        text = one["msg"].removeprefix("Value error, ")
        if one["loc"]:
            field = str(one["loc"][0])
            value = "" if field in SECRETS else f" is {one['input']!r:.200}"
            text = f"EXPORT_{field.upper()}{value}: {text[0].lower()}{text[1:]}"
        # A value that is of neither type is refused once for each: the first says enough.
        told.setdefault(str(one["loc"][:1]), text)
    return "; ".join(told.values())


def _check_webhook_secret(secret: str) -> None:
    """Refuse a key that receivers' libraries would read otherwise, without telling it.

    Raises:
        ValueError: It is not as Standard Webhooks writes keys.
    """
    prefix, key = secret[:6], secret[6:]
    try:
        # Receivers' libraries want the padding that some generators leave out.
        size_bytes = len(b64decode(key, validate=True))
    except ValueError:
        size_bytes = 0
    if prefix != "whsec_" or not 24 <= size_bytes <= 64:
        raise ValueError("a webhook secret is whsec_ and 24 to 64 bytes in base64, padding too")
