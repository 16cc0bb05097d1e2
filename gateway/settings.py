"""What an operator can set. Law: one table, the fields of `Settings`, drives flags, environment and TOML file alike.

A flag wins over a variable `STATUS_GATEWAY_<NAME>`, that over the file given by `--config`, that over the default.
The README lists the same table, and a test holds the two equal.
"""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import urlsplit

PREFIX: Final = "STATUS_GATEWAY_"
CLIENT_VARIABLES: Final = ("JOB", "URL", "WORKSPACE")  # of the other commands: no settings, but no mistakes either
LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
MAX_SECONDS: Final = 100 * 365 * 86400.0  # a hundred years: more is a slip of the hand, and overflows a datetime
_BOOLEANS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


class SettingsError(Exception):
    """A setting is wrong; the message names it, says where it came from and what to do, in one line."""


def _setting(default: Any, text: str, low: float = -math.inf, high: float = math.inf) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one gateway behaves; times are seconds."""

    host: str = _setting("127.0.0.1", "address to listen on; a loopback one, unless --insecure-no-auth is given")
    port: int = _setting(8000, "port to listen on; 0 takes a free one, which is said when it listens", 0, 65535)
    database: str = _setting("status.db", "SQLite file that keeps the log; made where it is missing")
    insecure_no_auth: bool = _setting(False, "listen where others can reach it, though anybody there may write")
    new_epoch: bool = _setting(False, "start a new epoch, for a log that comes from a plain copy of its file")
    allowed_hosts: tuple[str, ...] = _setting(
        (), "host names it answers for besides localhost, 127.0.0.1, [::1] and `host`; * for any"
    )
    allowed_origins: tuple[str, ...] = _setting((), "foreign origins whose pages may write, as https://example.org")
    heartbeat: float = _setting(15.0, "seconds between the sync frames of a stream", 0.1, 3600)
    max_streams: int = _setting(20_000, "most open streams; whoever comes on top is told to come back later", 1)
    grace: float = _setting(10.0, "seconds from SIGTERM to the exit", 1, 3600)
    progress_retention: float = _setting(
        86_400.0, "seconds that progress records of finished jobs are kept; 0 for good", 0, MAX_SECONDS
    )
    retention_age: float = _setting(2_592_000.0, "seconds that a finished job is kept; 0 for good", 0, MAX_SECONDS)
    retention_records: int = _setting(0, "most records in the log, those of finished jobs go first; 0 for no limit", 0)
    log_level: str = _setting("info", f"least grave message to log: {', '.join(LOG_LEVELS)}")


FIELDS: Final = {item.name: item for item in fields(Settings)}


class _Raw(NamedTuple):
    """A value as it was found, and the words that name the place where."""

    value: object
    origin: str


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give the parser a flag for each setting, and `--config`; what is not given stays out of the namespace."""
    absent = argparse.SUPPRESS
    parser.add_argument("--config", metavar="FILE", default=absent, help="TOML file with settings by their names")
    for name, item in FIELDS.items():
        flag = "--" + name.replace("_", "-")
        text = item.metadata["help"].replace("%", "%%")
        if isinstance(item.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=absent, help=text)
        elif isinstance(item.default, tuple):
            parser.add_argument(flag, action="append", metavar="NAME", default=absent, help=f"{text}; repeatable")
        else:
            metavar = {str: "TEXT", int: "N", float: "SECONDS"}[type(item.default)]
            parser.add_argument(flag, metavar=metavar, default=absent, help=f"{text} (default: {shown(item.default)})")


def load(flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """The settings by flags (names that are no setting are left alone), environment and file; raises SettingsError."""
    given = {name: _Raw(value, _flag(name)) for name, value in flags.items() if name in FIELDS}
    path = flags.get("config", environ.get(PREFIX + "CONFIG"))
    found = (_from_file(str(path)) if path else {}) | _from_environ(environ) | given
    settings = Settings(**{name: _convert(name, raw) for name, raw in found.items()})
    if not settings.insecure_no_auth and not is_loopback(settings.host):
        origin = found["host"].origin
        raise SettingsError(
            f"host {settings.host!r} ({origin}) can be reached from other machines, where anybody could write: "
            "take 127.0.0.1, or say with --insecure-no-auth that it is meant"
        )
    return settings


def shown(default: object) -> str:
    """A default as people write it: 86400 and not 86400.0."""
    return f"{default:.10g}" if isinstance(default, float) else str(default)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _flag(name: str) -> str:
    return "flag --" + name.replace("_", "-")


def _from_file(path: str) -> dict[str, _Raw]:
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"the settings file {path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not TOML: {error}") from error
    for name in table:
        if name not in FIELDS:
            _refuse_unknown(name, f"in {path}", FIELDS)
    return {name: _Raw(value, f"in {path}") for name, value in table.items()}


def _from_environ(environ: Mapping[str, str]) -> dict[str, _Raw]:
    known = {PREFIX + name.upper(): name for name in FIELDS}
    others = {PREFIX + name for name in (*CLIENT_VARIABLES, "CONFIG")}
    found = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in others or _is_of_kubernetes(variable, value):
            continue
        if variable not in known:
            _refuse_unknown(variable, "in the environment", known)
        found[known[variable]] = _Raw(value, f"environment variable {variable}")
    return found


def _is_of_kubernetes(variable: str, value: str) -> bool:
    """Kubernetes gives every pod such variables for a service called status-gateway; they are no settings."""
    return variable.removeprefix(PREFIX).startswith(("SERVICE_", "PORT_")) or value.startswith("tcp://")


def _refuse_unknown(name: str, origin: str, known: Iterable[str]) -> NoReturn:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    raise SettingsError(f"{name} ({origin}) is no setting: {remedy}")


def _convert(name: str, raw: _Raw) -> Any:
    default = FIELDS[name].default
    try:
        if isinstance(default, bool):
            return _boolean(raw.value)
        if isinstance(default, (int, float)):
            return _number(name, type(default), raw.value)
        if isinstance(default, tuple):
            return _names(name, raw.value)
        return _text(name, raw.value)
    except ValueError as error:
        raise SettingsError(f"{name} ({raw.origin}) is {raw.value!r}: {error}") from None


def _boolean(value: object) -> bool:
    word = str(value).strip().lower()
    if word not in _BOOLEANS:
        raise ValueError("it must be true or false")
    return _BOOLEANS[word]


def _number(name: str, kind: type[int] | type[float], value: object) -> float:
    low, high = FIELDS[name].metadata["low"], FIELDS[name].metadata["high"]
    wanted = f"it must be a {'whole number' if kind is int else 'number'} {_range(low, high)}"
    if isinstance(value, bool) or not isinstance(value, (str, int) if kind is int else (str, int, float)):
        raise ValueError(wanted)
    try:
        number = kind(value)
    except (ValueError, OverflowError):
        raise ValueError(wanted) from None
    if not low <= number <= high:
        raise ValueError(wanted)
    return number


def _range(low: float, high: float) -> str:
    return f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:.10g}"


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("it must be a text that is not empty")
    if name == "log_level" and value.lower() not in LOG_LEVELS:
        raise ValueError(f"it must be one of {', '.join(LOG_LEVELS)}")
    return value.lower() if name == "log_level" else value


def _names(name: str, value: object) -> tuple[str, ...]:
    """A list of the file or of a repeated flag; in the environment and in one flag commas stand between the names."""
    items = value if isinstance(value, list) else [value]
    names: list[str] = []
    for item in items:
        if not isinstance(item, str):
            raise ValueError("it must be a list of texts")
        names += [part.strip().lower() for part in item.split(",") if part.strip()]
    for entry in names:
        _check_name(name, entry)
    return tuple(names)


def _check_name(name: str, entry: str) -> None:
    if name == "allowed_origins":
        parts = urlsplit(entry)
        if parts.scheme not in ("http", "https") or entry != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"an origin is scheme, host and port only, as https://example.org, not {entry!r}")
    elif "/" in entry:
        raise ValueError(f"a host stands without scheme and path, as status.example.org, not {entry!r}")
