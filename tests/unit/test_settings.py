"""A setting that cannot be used is refused by its variable's name, its value and a reason."""

import pytest

from app.settings import Settings, WrongSetting, read_settings

WRONG = [
    ("PORT", "99999", "EXPORT_PORT is '99999': input should be less than or equal to 65535"),
    ("MAX_TILES", "many", "EXPORT_MAX_TILES is 'many': input should be a valid integer"),
    ("MAX_RUNNING_EXPORTS", "0", "EXPORT_MAX_RUNNING_EXPORTS is '0': input should be greater"),
    ("RANGE_BYTES", "0", "EXPORT_RANGE_BYTES is '0'"),
    ("RANGE_TILES", "-1", "EXPORT_RANGE_TILES is '-1'"),
    ("PACKAGE_DAYS", "inf", "EXPORT_PACKAGE_DAYS is 'inf': input should be a finite number"),
    ("PACKAGE_DAYS", "0", "EXPORT_PACKAGE_DAYS is '0'"),
    ("PACKAGE_MAX_DAYS", "99999999", "EXPORT_PACKAGE_MAX_DAYS is '99999999'"),
    ("VERDICT_WAIT_S", "nan", "EXPORT_VERDICT_WAIT_S is 'nan'"),
    ("MAX_REQUESTS_PER_MINUTE", "0", "EXPORT_MAX_REQUESTS_PER_MINUTE is '0'"),
    ("MAX_AREA_KM2", "-3", "EXPORT_MAX_AREA_KM2 is '-3'"),
    ("TOPIC_PREFIX", "a/b", "EXPORT_TOPIC_PREFIX is 'a/b'"),
    ("PUBLIC_URL", "maps.example", "EXPORT_PUBLIC_URL is 'maps.example': an http or https address"),
    ("JWKS_URL", "ftp://keys.example", "EXPORT_JWKS_URL is 'ftp://keys.example'"),
    ("BROKER", "kafka", "EXPORT_BROKER is 'kafka': addresses are host:port"),
    ("BROKER", "kafka:9092,:1", "EXPORT_BROKER is 'kafka:9092,:1': addresses are host:port"),
    ("RUN_NAME", "../../x", "EXPORT_RUN_NAME is '../../x'"),
    ("CORS_ORIGINS", "http://a.example", "EXPORT_CORS_ORIGINS must be a JSON list"),
    ("TRUSTED_PROXIES", '["a"]', "EXPORT_TRUSTED_PROXIES is 'a': input is not a valid IPv4"),
]


@pytest.mark.parametrize(("name", "value", "reason"), WRONG)
def test_a_wrong_setting_is_named_with_its_value_and_the_reason(monkeypatch, name, value, reason):
    monkeypatch.setenv(f"EXPORT_{name}", value)
    with pytest.raises(WrongSetting) as caught:
        read_settings()
    assert str(caught.value).startswith(reason)
    assert ";" not in str(caught.value)


def test_all_wrong_settings_are_named_at_once(monkeypatch):
    monkeypatch.setenv("EXPORT_PORT", "-1")
    monkeypatch.setenv("EXPORT_MAX_VERTICES", "3")
    with pytest.raises(WrongSetting, match=r"EXPORT_PORT is .*; EXPORT_MAX_VERTICES is"):
        read_settings()


def test_a_secret_that_cannot_be_used_is_not_told(monkeypatch):
    monkeypatch.setenv("EXPORT_WEBHOOK_SECRETS", '["whsec_hunter2"]')
    with pytest.raises(WrongSetting) as caught:
        read_settings()
    told = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert str(caught.value).startswith("EXPORT_WEBHOOK_SECRETS: a webhook secret is")
    assert "hunter2" not in "".join(map(str, told[:2]))
    assert caught.value.__suppress_context__


def test_an_empty_setting_is_not_set_and_none_is_no_limit(monkeypatch):
    monkeypatch.setenv("EXPORT_WEBHOOK_SECRETS", "")
    monkeypatch.setenv("EXPORT_BROKER", "")
    monkeypatch.setenv("EXPORT_MAX_REQUESTS_PER_MINUTE", "none")
    settings = read_settings()
    assert (settings.webhook_secrets, settings.broker) == ((), None)
    assert settings.max_requests_per_minute is None


@pytest.mark.parametrize("broker", ["kafka:9092", "a:1, b:2", "[::1]:9092"])
def test_brokers_are_named_with_their_ports(monkeypatch, broker):
    monkeypatch.setenv("EXPORT_BROKER", broker)
    assert read_settings().broker == broker


def test_two_places_of_keys_are_refused(monkeypatch):
    monkeypatch.setenv("EXPORT_JWKS_URL", "https://keys.example")
    monkeypatch.setenv("EXPORT_JWKS_FILE", "keys.json")
    with pytest.raises(WrongSetting, match="jwks_file and jwks_url are both set"):
        read_settings()


def test_what_is_chosen_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv("EXPORT_PORT", "1")
    assert read_settings(port=2).port == 2
    assert read_settings() == Settings(port=1)
