"""One tile as an HTTP answer."""

import hashlib
import re
from http import HTTPStatus
from typing import Final

from aiohttp import ETag, hdrs, web

from app.domain.errors import InvalidRequest
from app.domain.tile_image import image_type
from app.domain.world_crs84_quad import MAX_ZOOM, matrix_height, matrix_width

TILE_PATH: Final = "{zoom}/{column}/{row}"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)

Tile = tuple[int, int, int]


class NoSuchTile(InvalidRequest):
    """There is no tile at a place of the grid."""

    http_status = HTTPStatus.NOT_FOUND


def tile_of(request: web.Request) -> Tile:
    """Read zoom, column and row from the path.

    Returns:
        Zoom, column and row; rows count down from the north.

    Raises:
        NoSuchTile: The grid has no such tile.
    """
    texts = [request.match_info[name] for name in ("zoom", "column", "row")]
    if not all(_NUMBER.fullmatch(text) for text in texts):
        raise NoSuchTile(f"tile is {'/'.join(texts):.80}; it must be zoom/column/row")
    zoom, column, row = (int(text) for text in texts)
    if zoom > MAX_ZOOM:
        raise NoSuchTile(f"zoom is {zoom}; the finest is {MAX_ZOOM}")
    if column >= matrix_width(zoom) or row >= matrix_height(zoom):
        raise NoSuchTile(
            f"tile is {zoom}/{column}/{row}; zoom {zoom} has {matrix_width(zoom)} columns "
            f"and {matrix_height(zoom)} rows"
        )
    return zoom, column, row


def tile_response(request: web.Request, image: bytes, *, max_age_s: int) -> web.Response:
    """Answer with an image, or with 304 when the caller has it.

    Args:
        request: May carry If-None-Match.
        image: JPEG, PNG or WebP, as it is stored.
        max_age_s: How long a browser need not ask again; proxies keep nothing, as a tile is
            shown to those only who may see it.
    """
    tag = hashlib.sha256(image).hexdigest()[:32]
    headers = {
        hdrs.ETAG: f'"{tag}"',
        hdrs.CACHE_CONTROL: f"private, max-age={max_age_s}",
        "X-Content-Type-Options": "nosniff",
    }
    known = request.if_none_match or ()
    if ETag(tag) in known or any(etag.value == tag for etag in known):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(body=image, content_type=image_type(image), headers=headers)
