"""How a dataclass field says what its Avro field says: meaning, unit, and public name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Doc:
    """Annotation of one field of a record: `Annotated[int, Doc("...")]`.

    Attributes:
        text: Meaning and unit, copied into the schema's `doc`.
        name: Name of the Avro field where it differs from the attribute: the two public
            records, ExportRequested and ExportFinished, use the words of the HTTP API.
    """

    text: str
    name: str | None = None
