"""docs/auth.md: its commands run, and it names what there is."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

from app.ingress import audit
from app.ingress.auth.key_set import parse_key_set
from app.ingress.auth.tokens import TokenRules, TokenVerifier
from app.settings import Settings

TEXT = (Path(__file__).parents[2] / "docs" / "auth.md").read_text()


def test_every_variable_it_names_is_a_setting():
    names = {name.lower() for name in re.findall(r"EXPORT_([A-Z_]+)", TEXT)}
    assert names <= set(Settings.model_fields)
    auth = {name for name in names if re.match("jwks|jwt|admin|link|cors|trust|open", name)}
    assert auth == {
        name
        for name in Settings.model_fields
        if re.match("jwks|jwt|admin|link|cors|trust|open", name)
    }


def test_every_event_of_the_audit_log_is_in_its_table():
    table = TEXT[TEXT.index("## Audit log") :]
    events = set(re.findall(r"`([a-z]+_[a-z]+)`", table[: table.index("Each says")]))
    facts = {"request_id", "expires_at", "export_id", "byte_range", "answered_by"}
    assert events - facts == set(get_args(audit.Event))


async def test_the_token_that_it_makes_is_good(tmp_path):
    script = re.search(r"<<'PY'\n(.*?)\nPY\n", TEXT, re.DOTALL)
    assert script is not None
    command = [sys.executable, "-c", script[1]]
    await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, check=True)
    keys = parse_key_set((tmp_path / "jwks.json").read_bytes(), "doc")

    class Keys:
        async def find(self, kid):
            return keys.get(kid)

    verifier = TokenVerifier(Keys(), TokenRules(issuer="me"))
    bearer = await verifier.verify((tmp_path / "token").read_text())
    assert bearer.identity.client == "anna"
