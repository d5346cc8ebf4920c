"""The worker process: admission, tile writer and assembler in one Faust app without tables."""

import asyncio
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import app.admission.agent
import app.writing.agent
from app.admission.admit import Admission
from app.assembly.assembler import Assembler
from app.bootstrap.process import (
    edge_of,
    place_of,
    run_faust,
    run_until_stopped,
    until_broker_is_there,
)
from app.catalogue.folder import FolderCatalogue
from app.catalogue.port import SharedLookups
from app.domain.errors import InvalidRecord
from app.domain.ingress_seal import IngressSeal
from app.domain.judgement import RequestLimits
from app.ingress.auth.link_secret import load_link_secret
from app.kafka.faust_app import ServiceApp, build_worker_app
from app.settings import Settings
from app.sources.opening import open_source
from app.store.artifact_store import ArtifactStore
from app.writing.caretaker import Caretaker
from app.writing.open_shards import OpenShards
from app.writing.range_writer import RangeWriter
from app.writing.sweeper import Sweeper

DRAIN_S = 12.0
"""How long assemblies may go on after the order to stop; then they are stopped, within 3 s, and
their lease heals them."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's app, and what has to be closed after it."""

    faust_app: ServiceApp
    shards: OpenShards
    assembler: Assembler
    sweeper: Sweeper


def run(settings: Settings) -> None:
    """Run a worker until it is asked to stop."""

    async def main(stop: asyncio.Event) -> None:
        worker = build(settings)
        sweeping = asyncio.create_task(worker.sweeper.run(), name="sweeper")
        await run_faust(
            worker.faust_app,
            stop,
            before_start=partial(until_broker_is_there, settings),
            before_stop=lambda: worker.assembler.drain(DRAIN_S),
        )
        sweeping.cancel()
        await worker.shards.close()
        if worker.assembler.is_left:
            # The interpreter would wait for its thread. All is committed and the group left, and
            # an assembly that is killed at any line is harmless.
            os._exit(0)

    run_until_stopped(settings, main)


def build(settings: Settings) -> Worker:
    """Build the app with its stages, not started."""
    faust_app = build_worker_app(place_of(settings, "worker"))
    edge = edge_of(settings, faust_app, "worker")
    store = ArtifactStore(settings.exports_dir)
    owner = f"{settings.instance_id or 'worker'}-{uuid.uuid4().hex[:12]}"
    shards = OpenShards(owner, store.attempt_folder)
    roots = (settings.layers_dir, *settings.source_roots)
    writer = RangeWriter(
        shards,
        open_source=partial(open_source, allowed_roots=roots),
        executor=ThreadPoolExecutor(app.writing.agent.SIDE_BY_SIDE, "write"),
        now_ms=edge.now_ms,
    )
    assembler = Assembler(
        folder_of=store.attempt_folder,
        close_shard=shards.forget,
        outbox=edge.outbox,
        executor=ThreadPoolExecutor(2, "assemble"),
        owner=owner,
        now_ms=edge.now_ms,
    )
    caretaker = Caretaker(
        store, shards, ThreadPoolExecutor(2, "files"), owner=owner, now_ms=edge.now_ms
    )
    app.writing.agent.attach(
        edge,
        writer,
        assembler,
        caretaker,
        is_published=partial(_is_published, store),
    )
    app.admission.agent.attach(
        edge,
        Admission(
            catalogue=SharedLookups(
                FolderCatalogue(settings.catalogue_dir), timeout_s=settings.catalogue_timeout_s
            ),
            store=store,
            limits=RequestLimits(
                max_vertices=settings.max_vertices,
                max_tiles=settings.max_tiles,
                max_area_km2=settings.max_area_km2,
                callback_networks=settings.callback_networks,
            ),
            now_ms=edge.now_ms,
            seal=None
            if settings.trust_kafka_clients
            else IngressSeal(load_link_secret(settings.data_dir, settings.link_secret)),
        ),
    )
    sweeper = Sweeper(store, settings.removal_grace_s, edge.now_ms)
    return Worker(faust_app, shards, assembler, sweeper)


async def _is_published(store: ArtifactStore, export_id: str, attempt: str) -> bool:
    try:
        store.attempt_folder(export_id, attempt)
    except ValueError as error:
        raise InvalidRecord(str(error)) from error
    return attempt in await asyncio.to_thread(store.finished_attempts, export_id)
