"""Schemathesis as its users run it: in a process of its own, on the document of a running service.

The seed is fixed, so a failure comes again; the report names the request as a curl command.
"""

import asyncio
import re
import sys
from pathlib import Path

from app.ingress.openapi import ENDPOINTS

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
SEED = 20261125
ENDLESS = "/events$"
"""Streams of events have no end that Schemathesis could wait for."""


async def check(
    address: str,
    folder: Path,
    left_out: str,
    *options: str,
    more_checks: tuple[str, ...] = (),
    workers: int = 1,
    deadline_s: float = 600,
) -> None:
    """Run it on the document at an address, and fail with its report.

    Args:
        address: Of the service.
        folder: Where it runs, reads schemathesis.toml if there is one, and leaves a cache.
        left_out: Regular expression of the paths that are not asked.
        options: Phases and numbers.
        more_checks: Besides those that hold for every service.
        workers: Operations that are asked side by side; each has the same requests whatever the
            others do.
        deadline_s: For all of it.
    """
    program = "from schemathesis.cli import schemathesis; schemathesis()"
    command = [sys.executable, "-c", program]
    command += [
        "run",
        f"{address}/openapi.json",
        "--seed",
        str(SEED),
        "--workers",
        str(workers),
        "--no-color",
    ]
    command += ["--exclude-path-regex", left_out, "--request-timeout", "120"]
    command += ["--checks", ",".join((*CHECKS, *more_checks))]
    command += ["--generation-database", "none", *options]
    ran = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder
    )
    try:
        async with asyncio.timeout(deadline_s):
            report, _ = await ran.communicate()
    finally:
        if ran.returncode is None:
            ran.kill()
            await ran.wait()
    told = report.decode()
    asked = sum(1 for endpoint in ENDPOINTS if not re.search(left_out, endpoint.path))
    assert ran.returncode == 0, told
    assert f"Tested: {asked}\n" in told, told
