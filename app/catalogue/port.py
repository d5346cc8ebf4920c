"""What the service asks of a catalogue of layers, and one look-up for all who ask at once."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from app.domain.errors import CatalogueUnavailable

LayerFields = Mapping[str, Any]
"""One layer's record, JSON values by field name, read only; fields we do not know are kept."""


class Catalogue(Protocol):
    """Layer records by id."""

    async def find(self, layer_id: str) -> LayerFields | None:
        """Find one layer.

        Args:
            layer_id: A uuid, in upper or lower case.

        Returns:
            The record with its `source`; None: there is no such layer.

        Raises:
            CatalogueUnavailable: No answer in time.
        """
        ...

    async def all(self) -> list[LayerFields]:
        """All layers, sorted by id.

        Raises:
            CatalogueUnavailable: No answer in time.
        """
        ...


class SharedLookups:
    """A catalogue in front of another: a deadline, and one look-up a layer at a time.

    A thousand requests for one layer cost one look-up, and a catalogue that hangs holds one
    look-up a layer, not one a request. A look-up goes on when a caller leaves.
    """

    def __init__(self, catalogue: Catalogue, *, timeout_s: float) -> None:
        """Put a deadline before a catalogue.

        Args:
            catalogue: Who really knows.
            timeout_s: How long one caller waits, seconds.
        """
        self._catalogue = catalogue
        self._timeout_s = timeout_s
        self._under_way: dict[str, asyncio.Task[Any]] = {}

    async def find(self, layer_id: str) -> LayerFields | None:
        """Find one layer; see `Catalogue.find`."""
        key = layer_id.lower()
        task = self._under_way.get(key) or self._begin(key, self._catalogue.find(key))
        found: LayerFields | None = await self._wait(task, f"layer {key}")
        return found

    async def all(self) -> list[LayerFields]:
        """All layers; see `Catalogue.all`."""
        task = self._under_way.get("") or self._begin("", self._catalogue.all())
        records: list[LayerFields] = await self._wait(task, "the list of layers")
        return records

    def _begin(self, key: str, lookup: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(lookup, name=f"catalogue look-up {key or 'all'}")
        self._under_way[key] = task
        task.add_done_callback(lambda done: self._end(key, done))
        return task

    def _end(self, key: str, task: asyncio.Task[Any]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not complain when every caller has left

    async def _wait(self, task: asyncio.Task[Any], what: str) -> Any:
        try:
            # asyncio.timeout cancels the waiting only: others may still wait for the task.
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise CatalogueUnavailable(
                f"the catalogue did not answer for {what} within {self._timeout_s} s"
            ) from error
