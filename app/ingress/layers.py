"""The list of layers: records as the catalogue has them, without where their tiles are."""

from typing import Any

import shapely

from app.catalogue.port import LayerFields
from app.domain.area import parse_footprint
from app.domain.errors import InvalidRequest
from app.domain.requested_area import parse_bbox

BBOX_FORM = "west,south,east,north in degrees"


def parse_bbox_parameter(text: str | None) -> list[float] | None:
    """Read the query parameter `bbox`.

    Args:
        text: Four numbers with commas; None: no filter.

    Returns:
        West, south, east, north; west > east crosses the antimeridian.

    Raises:
        InvalidRequest: Not four numbers, or no box on the globe.

    >>> parse_bbox_parameter("34,31,35,32.5")
    [34.0, 31.0, 35.0, 32.5]
    """
    if text is None:
        return None
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidRequest(f"bbox is {text!r:.80}; it must be {BBOX_FORM}") from error
    if len(box) != 4:
        raise InvalidRequest(f"bbox has {len(box)} numbers; it must be {BBOX_FORM}")
    parse_bbox(box)
    return box


def public_layers(records: list[LayerFields], box: list[float] | None) -> list[dict[str, Any]]:
    """Choose the layers whose footprint meets a box; blocks, so call it in a thread.

    Args:
        records: All layers.
        box: West, south, east, north; None: all layers.

    Returns:
        The records without `source`, in the same order. A footprint that only touches the box
        counts: lists show too much rather than too little.
    """
    area = parse_bbox(box)
    return [
        {name: value for name, value in record.items() if name != "source"}
        for record in records
        if area is None
        or shapely.intersects(parse_footprint(record["footprint"], layer_id=record["id"]), area)
    ]
