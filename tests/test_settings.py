"""Settings come from flags, environment and file, by one table; a wrong one is refused with its name and the remedy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import FIELDS, PREFIX, Settings, SettingsError, add_flags, is_loopback, load, shown


def parse(*words: str) -> dict[str, object]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser)
    return vars(parser.parse_args(words))


def config(folder: Path, text: str) -> dict[str, object]:
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return {"config": str(path)}


def test_nothing_given_is_the_defaults() -> None:
    assert load(parse(), {}) == Settings()
    assert Settings().host == "127.0.0.1"
    assert Settings().grace == 10.0


@pytest.mark.parametrize(
    "words,environ,text,port",
    [
        ([], {}, "port = 1", 1),
        ([], {"STATUS_GATEWAY_PORT": "2"}, "port = 1", 2),
        (["--port", "3"], {"STATUS_GATEWAY_PORT": "2"}, "port = 1", 3),
        (["--port", "3"], {}, "", 3),
    ],
)
def test_a_flag_beats_the_environment_and_that_beats_the_file(
    tmp_path: Path, words: list[str], environ: dict[str, str], text: str, port: int
) -> None:
    assert load(parse(*words) | config(tmp_path, text), environ).port == port


def test_the_file_may_be_named_in_the_environment(tmp_path: Path) -> None:
    environ = {PREFIX + "CONFIG": str(config(tmp_path, "heartbeat = 2")["config"])}
    assert load(parse(), environ).heartbeat == 2.0


OTHER: dict[str, tuple[str, Any]] = {
    "host": ("::1", "::1"),
    "port": ("0", 0),
    "database": ("/tmp/other.db", "/tmp/other.db"),
    "insecure_no_auth": ("yes", True),
    "new_epoch": ("1", True),
    "allowed_hosts": ("a.example, B.example:80", ("a.example", "b.example:80")),
    "allowed_origins": ("https://a.example,http://b.example:80", ("https://a.example", "http://b.example:80")),
    "heartbeat": ("0.5", 0.5),
    "max_streams": ("7", 7),
    "grace": ("3", 3.0),
    "progress_retention": ("0", 0.0),
    "retention_age": ("60", 60.0),
    "retention_records": ("100", 100),
    "log_level": ("DEBUG", "debug"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_read_alike_from_flag_environment_and_file(tmp_path: Path, name: str) -> None:
    word, value = OTHER[name]
    assert value != getattr(Settings(), name)
    flag = "--" + name.replace("_", "-")
    flags = [flag] if value is True else [flag, word]
    toml = f"'{word}'" if isinstance(value, str) else str(list(value) if isinstance(value, tuple) else value).lower()
    for settings in (
        load(parse(*flags), {}),
        load(parse(), {PREFIX + name.upper(): word}),
        load(config(tmp_path, f"{name} = {toml}"), {}),
    ):
        assert getattr(settings, name) == value
        assert type(getattr(settings, name)) is type(getattr(Settings(), name))


def test_a_flag_switches_off_what_the_environment_switched_on() -> None:
    assert load(parse("--no-new-epoch"), {"STATUS_GATEWAY_NEW_EPOCH": "on"}).new_epoch is False


def test_a_repeated_flag_adds_to_its_list() -> None:
    assert load(parse("--allowed-hosts", "a", "--allowed-hosts", "b,c"), {}).allowed_hosts == ("a", "b", "c")


def test_every_flag_says_what_it_means_and_its_default() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    help_text = " ".join(parser.format_help().split())
    for name, item in FIELDS.items():
        assert "--" + name.replace("_", "-") in help_text
        if item.default not in (False, ()):
            assert f"(default: {shown(item.default)})" in help_text
    assert "(default: 86400)" in help_text


@pytest.mark.parametrize(
    "text,words",
    [
        ("port = 'x'", ["port", "whole number from 0 to 65535", "gateway.toml"]),
        ("port = 65536", ["port", "65536", "65535"]),
        ("port = true", ["port", "True", "whole number"]),
        ("port = 1.5", ["port", "whole number"]),
        ("grace = 'soon'", ["grace", "number from 1 to 3600"]),
        ("grace = nan", ["grace", "nan"]),
        ("grace = 0", ["grace", "from 1"]),
        ("max_streams = 0", ["max_streams", "of at least 1"]),
        ("retention_age = 1e300", ["retention_age"]),
        ("new_epoch = 'perhaps'", ["new_epoch", "true or false"]),
        ("database = ''", ["database", "not empty"]),
        ("database = 3", ["database", "text"]),
        ("log_level = 'loud'", ["log_level", "debug, info"]),
        ("allowed_hosts = [1]", ["allowed_hosts", "list of texts"]),
        ("allowed_hosts = ['http://a/']", ["allowed_hosts", "without scheme"]),
        ("allowed_origins = ['a.example']", ["allowed_origins", "https://example.org"]),
        ("allowed_origins = ['https://a.example/']", ["allowed_origins", "https://a.example/"]),
        ("prot = 80", ["prot", "gateway.toml", "did you mean port?"]),
        ("zzzzzz = 80", ["zzzzzz", "known are host, port"]),
        ("port 80", ["gateway.toml", "not TOML"]),
    ],
)
def test_a_wrong_setting_in_the_file_is_refused_with_its_name_and_the_remedy(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(config(tmp_path, text), {})
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_wrong_flag_or_variable_is_named_as_such() -> None:
    with pytest.raises(SettingsError, match=r"port \(flag --port\) is 'x'"):
        load(parse("--port", "x"), {})
    with pytest.raises(SettingsError, match=r"environment variable STATUS_GATEWAY_PORT"):
        load(parse(), {"STATUS_GATEWAY_PORT": "x"})
    with pytest.raises(SettingsError, match="did you mean STATUS_GATEWAY_DATABASE"):
        load(parse(), {"STATUS_GATEWAY_DATABSE": "x"})


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml can't be read: No such file"):
        load({"config": str(tmp_path / "absent.toml")}, {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not TOML"):
        load({"config": str(tmp_path / "binary.toml")}, {})


def test_variables_of_the_client_and_of_kubernetes_are_no_settings() -> None:
    environ = {
        "STATUS_GATEWAY_URL": "http://127.0.0.1:8000",
        "STATUS_GATEWAY_JOB": "tiles",
        "STATUS_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "STATUS_GATEWAY_PORT": "tcp://10.0.0.1:8000",
        "STATUS_GATEWAY_PORT_8000_TCP_ADDR": "10.0.0.1",
        "HOST": "example.org",
    }
    assert load(parse(), environ) == Settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_a_host_that_others_can_reach_is_refused_unless_it_is_meant(host: str) -> None:
    with pytest.raises(SettingsError, match=r"flag --host.*127\.0\.0\.1.*--insecure-no-auth"):
        load(parse("--host", host), {})
    assert load(parse("--host", host, "--insecure-no-auth"), {}).host == host


def test_loopback_is_known_in_all_its_spellings() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST")))
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "localhost.example.org", "")))
