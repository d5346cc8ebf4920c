"""The topic catalogue is what the design promises, and the documents show the same."""

import re
from pathlib import Path

import pytest

from app.domain import records
from app.kafka.topics import (
    CATALOGUE,
    DEAD_LETTERS,
    PARTITIONS,
    TABLE_CHANGELOGS,
    Topics,
    carried_records,
    changelog_name,
    topic_spec,
)

ROOT = Path(__file__).resolve().parents[2]
DAY_MS = 86_400_000


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_names_are_kebab_case(spec):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", spec.name)


def test_names_are_unique():
    assert len({spec.name for spec in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_a_topic_has_one_partition_or_as_many_as_all_others(spec):
    assert spec.partitions in (1, PARTITIONS)


@pytest.mark.parametrize(
    "name",
    [
        "export-requests",
        "export-registry",
        "export-plans",
        "tile-range-work",
        "export-settlements",
    ],
)
def test_inboxes_keep_a_week_and_have_one_reading_side(name):
    spec = topic_spec(name)
    assert (spec.cleanup_policy, spec.retention_ms) == ("delete", 7 * DAY_MS)


@pytest.mark.parametrize(
    ("table", "inbox"),
    [
        *((table, "export-registry") for table in ("requests", "bodies", "exports")),
        *((table, "export-registry") for table in ("areas", "layers")),
        *((table, "export-plans") for table in ("progress", "plans")),
        *((table, "export-settlements") for table in ("results", "deliveries")),
    ],
)
def test_a_changelog_is_compacted_and_has_as_many_partitions_as_its_tables_inbox(table, inbox):
    changelog = topic_spec(changelog_name(table))
    assert changelog.cleanup_policy == "compact"
    assert changelog.partitions == topic_spec(inbox).partitions
    assert len(changelog.carries) == 1


def test_a_tick_comes_only_from_the_stage_that_reads_it():
    for spec in CATALOGUE:
        if records.Tick in spec.carries:
            assert set(spec.read_by) <= set(spec.written_by)


def test_every_record_of_the_domain_travels_on_a_topic_or_inside_another():
    from app.kafka.avro_schema import nested_records

    carried = set(carried_records())
    nested = {inner for record in carried for inner in nested_records(record)}
    of_module = {
        value
        for value in (getattr(records, name) for name in records.__all__)
        if isinstance(value, type)
    }
    assert of_module - carried - nested == set()


def test_only_dead_letters_carry_bytes_of_any_kind():
    assert [spec for spec in CATALOGUE if not spec.carries] == [DEAD_LETTERS]


def test_a_prefix_stands_before_every_name():
    topics = Topics("test-1-")
    assert [name for name, _ in topics] == [f"test-1-{spec.name}" for spec in CATALOGUE]
    assert topics.spec("test-1-export-plans") is topic_spec("export-plans")
    assert topics.table_app_id() == "test-1-coordinator"
    assert topics.changelog("requests") == "test-1-coordinator-requests-changelog"
    with pytest.raises(KeyError):
        topics.spec("export-plans")
    with pytest.raises(KeyError):
        topics.name("no-such-topic")


def rows_of_table(text):
    """Read the rows of the markdown table that begins with `| topic |`."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| topic |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0].strip("`")] = cells
    return rows


@pytest.mark.parametrize("document", ["README.md", "docs/kafka.md"])
def test_readme_and_manual_show_every_topic_of_the_catalogue(document):
    rows = rows_of_table((ROOT / document).read_text(encoding="utf-8"))
    changelogs = {spec.name for spec in TABLE_CHANGELOGS}
    assert set(rows) == {spec.name for spec in CATALOGUE} - changelogs
    for name, cells in rows.items():
        spec = topic_spec(name)
        assert cells[1] == spec.key
        assert cells[2] == str(spec.partitions)
        days = "compacted" if spec.retention_ms is None else f"{spec.retention_ms // DAY_MS} days"
        assert cells[3] == days
        assert cells[4] == ", ".join(record.__name__ for record in spec.carries) or "bytes"
        assert cells[5] == ", ".join(spec.written_by)
        assert cells[6] == ", ".join(spec.read_by)


def test_the_manual_names_every_table_changelog():
    text = (ROOT / "docs" / "kafka.md").read_text(encoding="utf-8")
    for spec in TABLE_CHANGELOGS:
        assert f"`{spec.name}`" in text
