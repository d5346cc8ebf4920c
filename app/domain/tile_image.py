"""Which images a GeoPackage may hold, and whether one is whole, told without decoding."""

from typing import Final

JPEG_START: Final = b"\xff\xd8\xff"
JPEG_END: Final = b"\xff\xd9"
PNG_START: Final = b"\x89PNG\r\n\x1a\n"
PNG_LAST_CHUNK: Final = b"IEND"
SHORTEST_IMAGE_BYTES: Final = 26
"""A lossless WebP of one pixel; PNG and JPEG need more."""

PLAIN_STARTS: Final = (JPEG_START, PNG_START)
"""JPEG and PNG, which need no extension (GeoPackage, requirements 36 and 37)."""


def is_webp(image: bytes) -> bool:
    """Whether the bytes begin as a WebP does; such tiles need the gpkg_webp extension.

    >>> is_webp(b"RIFF....WEBPVP8L")
    True
    """
    return image.startswith(b"RIFF") and image[8:12] == b"WEBP"


def image_type(image: bytes) -> str:
    """The media type of an image that `flaw_of` finds whole.

    >>> image_type(PNG_START)
    'image/png'
    """
    if image.startswith(PNG_START):
        return "image/png"
    return "image/webp" if is_webp(image) else "image/jpeg"


def flaw_of(image: bytes) -> str | None:
    """Say what is wrong with the bytes of a tile, or None for a JPEG, PNG or WebP that is whole.

    Bytes after the end of an image are allowed, as decoders allow them.

    >>> flaw_of(b"")
    'it is empty'
    >>> flaw_of(b"<html>not found</html>.....")
    'it is no JPEG, PNG or WebP'
    """
    if image.startswith(JPEG_START):
        # The coded data of a JPEG escapes 0xFF, so its end marker stands at the end only.
        return None if image.endswith(JPEG_END) or image.rfind(JPEG_END) > 0 else "it is cut short"
    if not image:
        return "it is empty"
    if len(image) < SHORTEST_IMAGE_BYTES:
        return f"it has only {len(image)} bytes"
    if image.startswith(PNG_START):
        return None if image.rfind(PNG_LAST_CHUNK) > 0 else "it is cut short"
    if is_webp(image):
        told = 8 + int.from_bytes(image[4:8], "little")
        return None if len(image) >= told else "it is cut short"
    return "it is no JPEG, PNG or WebP"
