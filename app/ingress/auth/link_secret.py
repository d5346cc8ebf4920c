"""The secret of presigned links and of the ingress's seal, shared within one data folder."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from app.domain.errors import ExportServiceError

FILE_NAME: Final = "link_secret"
SECRET_BYTES: Final = 32
MIN_SECRET_BYTES: Final = 16


class SecretUnusable(ExportServiceError):
    """The secret is too short to sign with, or cannot be read or made."""


def load_link_secret(data_dir: Path, configured: SecretStr | None) -> bytes:
    """Read the secret, or make one that only this user can read; blocks for a moment.

    Several processes may start at once: the file appears whole or not at all, and whoever comes
    second takes what the first one made.

    Args:
        data_dir: The folder that all ingresses share.
        configured: The secret of the settings, which wins; None: the file.

    Raises:
        SecretUnusable: See the message.
    """
    if configured is not None:
        return _long_enough(configured.get_secret_value().encode(), "link_secret of the settings")
    path = data_dir / FILE_NAME
    try:
        if not path.exists():
            _make(path)
        return _long_enough(path.read_bytes(), str(path))
    except OSError as error:
        raise SecretUnusable(f"{path} cannot be read or made: {error}") from error


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(SECRET_BYTES).encode())
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never takes the place of what another process has made.
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()


def _long_enough(secret: bytes, place: str) -> bytes:
    if len(secret) < MIN_SECRET_BYTES:
        raise SecretUnusable(f"{place} has {len(secret)} bytes; at least {MIN_SECRET_BYTES}")
    return secret
