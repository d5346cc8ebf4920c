"""The ingress process: HTTP in front, no Faust."""

import asyncio

from app.bootstrap.process import bootstrap_of, run_until_stopped
from app.catalogue.folder import FolderCatalogue
from app.ingress.run import run_ingress
from app.settings import Settings
from app.store.artifact_store import ArtifactStore


def run(settings: Settings) -> None:
    """Run an ingress until it is asked to stop."""

    async def main(stop: asyncio.Event) -> None:
        await run_ingress(
            settings,
            stop,
            bootstrap=bootstrap_of(settings),
            catalogue=FolderCatalogue(settings.catalogue_dir),
            files=ArtifactStore(settings.exports_dir),
        )

    run_until_stopped(settings, main)
