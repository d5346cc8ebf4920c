"""Which image formats a GeoPackage may hold, told by the first bytes."""

from typing import Final

SOURCE_FORMATS: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""JPEG and PNG, which need no extension (GeoPackage, requirements 36 and 37)."""


def is_webp(image: bytes) -> bool:
    """Whether the bytes begin as a WebP does; such tiles need the gpkg_webp extension."""
    return image.startswith(b"RIFF") and image[8:12] == b"WEBP"


def has_end(image: bytes) -> bool:
    """Whether the end of a JPEG or PNG is there; a WebP has no such mark and passes."""
    if image.startswith(SOURCE_FORMATS[0]):
        return image.rfind(b"\xff\xd9") > 0
    return is_webp(image) or image.rfind(b"IEND") > 0
