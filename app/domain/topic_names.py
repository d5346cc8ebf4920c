"""The names of the topics, as handlers write them; app.kafka.topics holds all else about them."""

from typing import Final

EXPORT_REQUESTS: Final = "export-requests"
EXPORT_REGISTRY: Final = "export-registry"
EXPORT_PLANS: Final = "export-plans"
TILE_RANGE_WORK: Final = "tile-range-work"
EXPORT_SETTLEMENTS: Final = "export-settlements"
EXPORT_FINISHED: Final = "export-finished"
EXPORT_PROGRESS: Final = "export-progress"
DEAD_LETTERS: Final = "dead-letters"
