"""`up`: everything on this machine, and `demo`: the demo layer alone."""

import asyncio
import shlex
from typing import Annotated, Final

import typer

from app.cli.options import Broker, DataDir, settings_with
from app.cli.screen import OnAmount, Screen, told_errors
from app.demo import DEMO_LAYER_ID, DemoLayer, make_demo_layer
from app.ingress.auth.bind_rule import check_bind, is_loopback
from app.ingress.auth.keys import check_key_file
from app.settings import Settings
from app.supervisor.data_folder_lock import hold_data_folder
from app.supervisor.stop_signals import StopSignals
from app.supervisor.supervise import Desk, Supervisor, choose_port

DEMO_BBOX: Final = "[-6, 30, 36.5, 46]"
"""The Mediterranean: some tiles at each zoom, and the first export takes a moment only."""

commands = typer.Typer()


class StopAsked(Exception):
    """The person wants to stop while something is still being prepared."""


@commands.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the API. Default: 8080; 0: any free one."),
    ] = None,
    data_dir: DataDir = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    host: Annotated[
        str | None, typer.Option(help="Address the API listens on. Default: 127.0.0.1.")
    ] = None,
    broker: Broker = None,
    demo: Annotated[
        bool, typer.Option("--demo/--no-demo", help="Make the demo layer at the first start.")
    ] = True,
) -> None:
    """Start everything on this machine: broker, ingress, coordinator and workers.

    A process that ends is started again. Ctrl-C or SIGTERM stops everything without losing work
    in progress; the next start goes on where this one stopped. Logs: DATA_DIR/run; one that grows
    beyond 32 MiB is put aside, five of each process are kept.
    """
    screen = Screen()
    with told_errors(screen):
        settings = settings_with(port=port, data_dir=data_dir, host=host, broker=broker)
        # Before anything starts: its ingress alone would end and be started again for ever.
        check_bind(settings)
        check_key_file(settings.jwks_file)
        with hold_data_folder(settings.data_dir, screen.say) as lock:
            free_port = choose_port(settings.host, settings.port)
            settings = settings.model_copy(
                update={"port": free_port, "data_dir": settings.data_dir.absolute()}
            )
            asyncio.run(_up(settings, screen, workers=workers, demo=demo, lock=lock))
    screen.say("Stopped.")


@commands.command("demo")
def make_demo(data_dir: DataDir = None) -> None:
    """Make the demo layer: NASA's Blue Marble as tiles, with its record in the catalogue.

    The whole world in WorldCRS84Quad, zooms 0 to 5, JPEG, 15 MB. What is there already is kept;
    delete DATA_DIR/layers/blue_marble and DATA_DIR/catalogue/blue_marble.json to make it anew.
    """
    screen = Screen()
    with told_errors(screen):
        settings = settings_with(data_dir=data_dir)
        with hold_data_folder(settings.data_dir, screen.say), screen.bar(BAR) as on_tiles:
            layer = make_demo_layer(settings.layers_dir, settings.catalogue_dir, on_tiles)
        screen.say(f"Layer {layer.layer_id}: {layer.tile_count} tiles in {layer.tiles_dir}")
        screen.say(f"Record: {layer.record_path}")


BAR: Final = "Making the demo layer (once)"


async def _up(settings: Settings, screen: Screen, *, workers: int, demo: bool, lock: int) -> None:
    desk = Desk(screen.say, lambda url: _show_ready(screen, url, settings, demo=demo))
    with StopSignals().caught() as stop:
        if demo and await _demo_unless_stopped(settings, screen, stop) is None:
            return
        supervisor = Supervisor(settings, desk, worker_count=workers, lock_descriptor=lock)
        await supervisor.run(stop)


async def _demo_unless_stopped(
    settings: Settings, screen: Screen, stop: StopSignals
) -> DemoLayer | None:
    """Make the demo layer in a thread; None when the person wants to stop meanwhile."""

    def until_stopped(show: OnAmount) -> OnAmount:
        def on_tiles(done: int, total: int) -> None:
            if stop.asked.is_set():
                raise StopAsked
            show(done, total)

        return on_tiles

    with screen.bar(BAR) as show:
        try:
            return await asyncio.to_thread(
                make_demo_layer,
                settings.layers_dir,
                settings.catalogue_dir,
                until_stopped(show),
            )
        except StopAsked:
            return None


def _show_ready(screen: Screen, url: str, settings: Settings, *, demo: bool) -> None:
    screen.say("")
    screen.say(f"Ready: {url}")
    if not settings.has_keys:
        reach = "this machine only" if is_loopback(settings.host) else "everybody who reaches it"
        screen.say(f"No keys are configured: it is open to {reach}, without tokens.")
    if demo:
        body = f'{{"dbId": "{DEMO_LAYER_ID}", "bbox": {DEMO_BBOX}}}'
        screen.say("An export of the demo layer:")
        screen.say(
            f"  curl -s {url}/create -H 'content-type: application/json' -d {shlex.quote(body)}"
        )
    screen.say("Stop with Ctrl-C.")
