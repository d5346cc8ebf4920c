"""Which zooms of a layer a caller's resolutions mean."""

from dataclasses import dataclass
from typing import Any

from app.domain.errors import InvalidRequest
from app.domain.world_crs84_quad import MIN_ZOOM, zoom_of_resolution


@dataclass(frozen=True, slots=True)
class ChosenZooms:
    """The zooms of an area.

    Attributes:
        finest_deg: As asked, or the layer's own; degrees per pixel.
        min_zoom: Coarsest zoom.
        max_zoom: Finest zoom.
    """

    finest_deg: float
    min_zoom: int
    max_zoom: int


@dataclass(frozen=True, slots=True)
class LayerZooms:
    """The zooms that a layer has.

    Attributes:
        layer_id: For messages.
        max_resolution_deg: The record's `maxResolutionDeg`, unchecked.
    """

    layer_id: str
    max_resolution_deg: Any

    def choose(
        self,
        finest_deg: Any,
        coarsest_deg: Any,
        *,
        finest_field: str = "targetResolution",
        coarsest_field: str = "minResolution",
    ) -> ChosenZooms:
        """Turn resolutions into zooms.

        Args:
            finest_deg: Degrees per pixel; None: the layer's finest.
            coarsest_deg: Degrees per pixel; None: zoom 0.
            finest_field: The caller's field, for messages.
            coarsest_field: The caller's field, for messages.

        Raises:
            InvalidRequest: No resolution, finer than the layer has, or the wrong way round.
        """
        layer_zoom = zoom_of_resolution(
            self.max_resolution_deg, field=f"maxResolutionDeg of layer {self.layer_id}"
        )
        target_deg = self.max_resolution_deg if finest_deg is None else finest_deg
        max_zoom = zoom_of_resolution(target_deg, field=finest_field)
        if max_zoom > layer_zoom:
            raise InvalidRequest(
                f"{finest_field} is {finest_deg} (zoom {max_zoom}), finer than layer "
                f"{self.layer_id} has: {self.max_resolution_deg} (zoom {layer_zoom})"
            )
        if coarsest_deg is None:
            return ChosenZooms(float(target_deg), MIN_ZOOM, max_zoom)
        min_zoom = zoom_of_resolution(coarsest_deg, field=coarsest_field)
        if min_zoom > max_zoom:
            finest_name = finest_field.rpartition(".")[2]
            raise InvalidRequest(
                f"{coarsest_field} is {coarsest_deg} (zoom {min_zoom}), finer than {finest_name} "
                f"{target_deg} (zoom {max_zoom}); it names the coarsest resolution wanted"
            )
        return ChosenZooms(float(target_deg), min_zoom, max_zoom)
