"""The commands as they are typed, without a service."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.processes import Processes
from app.cli.typer_app import build_typer_app
from app.settings import Settings

COMMANDS = (
    "up",
    "ingress",
    "coordinator",
    "worker",
    "topics",
    "demo",
    "export",
    "verify",
    "settings",
)


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def command(ran):
    typer_app = build_typer_app(
        Processes(
            ingress=lambda settings: ran.append(f"ingress {settings.broker}"),
            coordinator=lambda settings: ran.append(f"coordinator {settings.broker}"),
            worker=lambda settings: ran.append(f"worker {settings.broker}"),
        )
    )
    return lambda *words: CliRunner().invoke(typer_app, words)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(command, name):
    shown = command(name, "--help")
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) > 8


def test_help_does_not_wait_for_faust():
    script = (
        "import sys, app.bootstrap; app.bootstrap.build_cli(); sys.exit('faust' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", ["ingress", "coordinator", "worker"])
def test_a_process_gets_the_settings_of_the_environment(command, ran, monkeypatch, name):
    monkeypatch.setenv("EXPORT_BROKER", "kafka:9092")
    assert command(name).exit_code == 0
    assert ran == [f"{name} kafka:9092"]


def test_a_process_without_a_broker_says_how_to_name_one(command, ran, monkeypatch):
    monkeypatch.delenv("EXPORT_BROKER", raising=False)
    shown = command("worker")
    assert shown.exit_code == 2
    assert "EXPORT_BROKER is not set" in shown.output
    assert ran == []


def test_a_box_of_three_numbers_is_wrong_usage(command, tmp_path):
    shown = command("export", "--layer", "x", "--bbox", "1,2,3", "--output", str(tmp_path / "a"))
    assert shown.exit_code == 2


def test_a_file_that_is_there_is_not_replaced_unasked(command, tmp_path):
    package = tmp_path / "a.gpkg"
    package.write_bytes(b"mine")
    shown = command("export", "--layer", "x", "--output", str(package))
    assert shown.exit_code == 1
    assert "--force" in shown.output
    assert package.read_bytes() == b"mine"


def test_verify_refuses_what_is_no_package(command, tmp_path):
    package = tmp_path / "a.gpkg"
    package.write_bytes(b"no database")
    shown = command("verify", str(package))
    assert shown.exit_code == 1
    assert "error: " in shown.output
    assert command("verify", str(Path("nowhere.gpkg"))).exit_code == 1


def test_everything_on_one_machine_does_not_start_open_to_others_by_mistake(command, tmp_path):
    shown = command("up", "--host", "0.0.0.0", "--data-dir", str(tmp_path / "data"))
    assert shown.exit_code == 1
    assert "EXPORT_OPEN_TO_ALL" in shown.output
    assert not (tmp_path / "data").exists()


def test_all_settings_are_listed_and_explained_and_secrets_are_not_shown(command, monkeypatch):
    key = "whsec_" + "c2VjcmV0" * 4
    monkeypatch.setenv("EXPORT_WEBHOOK_SECRETS", f'["{key}"]')
    monkeypatch.setenv("EXPORT_CORS_ORIGINS", '["https://maps.example"]')
    shown = command("settings")
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert len(lines) == 2 * len(Settings.model_fields)
    assert all(explained.strip() for explained in lines[1::2])
    assert '* EXPORT_CORS_ORIGINS = ["https://maps.example"]' in lines
    assert "EXPORT_PORT = 8080" in lines
    assert "* EXPORT_WEBHOOK_SECRETS = (secret)" in lines
    assert key not in shown.output


def test_a_setting_that_cannot_be_used_ends_a_command_with_its_name(command, monkeypatch):
    monkeypatch.setenv("EXPORT_PORT", "http")
    shown = command("worker")
    assert shown.exit_code == 1
    assert "EXPORT_PORT is 'http'" in shown.output


def test_nothing_starts_with_a_key_file_that_is_not_there(command, tmp_path, monkeypatch):
    monkeypatch.setenv("EXPORT_JWKS_FILE", str(tmp_path / "none.json"))
    shown = command("up", "--data-dir", str(tmp_path / "data"))
    assert shown.exit_code == 1
    assert "error: EXPORT_JWKS_FILE is" in shown.output
    assert "No such file" in shown.output
    assert not (tmp_path / "data").exists()
