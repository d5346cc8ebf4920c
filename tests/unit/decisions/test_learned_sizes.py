"""Space is reserved by what finished exports taught of a layer's tiles."""

from app.domain.package_facts import PackageFacts, ZoomCounts
from app.domain.records import ExportAssembled, ExportBeat, RequestProgress


def verdicts(pipeline):
    return {r.request_id: r.verdict for r in pipeline.records(RequestProgress)}


def package(record, attempt, tiles, each):
    """What the planner tells of a package with so many tiles of so many bytes at zoom 3."""
    zooms = (ZoomCounts(3, tiles, tiles, 0, 0, tiles * each),)
    facts = PackageFacts("p.gpkg", "p.json", 4096, "ab" * 32, record.at_ms, zooms)
    return ExportAssembled(record.export_id, attempt, record.at_ms, facts)


def finish(pipeline, request_id, tiles, each, **changes):
    record = pipeline.ask(request_id, **changes)
    attempt = pipeline.rows["exports", record.export_id].attempt
    told = package(record, attempt, tiles, each)
    for _ in range(3):  # the planner says so until it is stopped
        pipeline.feed("export-registry", record.export_id, told)
    return record


def test_a_small_export_does_not_make_a_large_one_look_small(pipeline):
    """507 by reservation: four tiles of open sea once stood for a whole country."""
    pipeline.answers = False
    finish(pipeline, "country", 50_000, 20_000)
    record = finish(pipeline, "sea", 4, 600, box=(-40.0, 0.0, 0.0, 40.0))
    assert pipeline.registrar.state.mean_bytes(record.layer_id, 3, 0) > 19_900
    need = sum(z.tiles for z in record.tiles_by_zoom if z.zoom == 3) * 19_900
    pipeline.ask("r3", free_bytes=need + 64 * 1024 * 1024, box=(-40.0, -40.0, 0.0, 0.0))
    assert verdicts(pipeline)["r3"] == "Refused"


def test_what_is_told_again_teaches_nothing_more(pipeline):
    pipeline.answers = False
    finish(pipeline, "a", 100, 20_000)
    record = finish(pipeline, "b", 100, 10_000, box=(-40.0, 0.0, 0.0, 40.0))
    assert pipeline.registrar.state.mean_bytes(record.layer_id, 3, 0) == 15_000


def test_a_running_export_whose_tiles_are_larger_than_expected_reserves_more(pipeline):
    """Once it has written what was expected of all, the rest would take what others are given."""
    pipeline.answers = False
    record = pipeline.ask("r1")
    tiles = sum(zoom.tiles for zoom in record.tiles_by_zoom)
    export = pipeline.rows["exports", record.export_id]
    written = 3 * export.estimated_bytes
    half = tiles // 2
    beat = ExportBeat(
        record.export_id, export.attempt, pipeline.now_ms, "writing", half, 0, written
    )
    pipeline.feed("export-registry", record.export_id, beat)
    expected = (tiles - half) * written * 5 // (half * 4)
    assert pipeline.registrar.state.reserved_bytes() == expected
    need = export.estimated_bytes * 5 // 4
    free = need + expected + 64 * 1024 * 1024
    pipeline.ask("r2", free_bytes=free - 1, box=(-40.0, 0.0, 0.0, 40.0))
    pipeline.ask("r3", free_bytes=free, box=(-40.0, 0.0, 0.0, 40.0))
    told = verdicts(pipeline)
    assert (told["r2"], told["r3"]) == ("Refused", "Accepted")
