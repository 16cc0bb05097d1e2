"""What may stand on the command line, and the help that says so: exit statuses are part of it."""

import argparse
import math
import os
import sys
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from gateway import __version__
from gateway.client.base import DEFAULT_URL
from gateway.runner.life import DELIVER_FOR, GRACE, LEASE
from gateway.settings import add_flags

USUAL_EXITS: Final = "exit status: 0 done, 1 refused by the gateway, 2 wrong usage, 3 gateway not reachable"
SERVE_EXITS: Final = "exit status: 0 after SIGTERM or Ctrl-C, 1 if it could not run, 2 wrong usage"
BACKUP_EXITS: Final = "exit status: 0 done, 1 failed, 2 wrong usage"
WATCH_EXITS: Final = "exit status: 0 the job succeeded, 1 failed, 2 was cancelled, 3 was deleted or can't be followed"
RUN_EXITS: Final = """\
The gateway being slow, down or restarted does not harm the command: its reports wait and are delivered later. The
command finds STATUS_GATEWAY_JOB and STATUS_GATEWAY_URL in its environment, to say more by: status-gateway report.

exit status: that of the command; 128 + N if signal N killed it; 127 if it was not found, 126 if it can't be executed;
125 if the gateway refuses the job for what was said here; 143 if the job was cancelled before the command began"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="status-gateway", description="Job status: reported once, kept, pushed to readers."
    )
    top.add_argument("--version", action="version", version=f"status-gateway {__version__}")
    commands = top.add_subparsers(dest="action", required=True, metavar="COMMAND")

    def command(name: str, text: str, exits: str = USUAL_EXITS) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=text[:1].upper() + text[1:] + ".",
            epilog=exits,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    add_flags(command("serve", "run the gateway", SERVE_EXITS))
    _backup(command("backup", "copy the database while the gateway runs", BACKUP_EXITS))
    _run(command("run", "run a command as a job", RUN_EXITS))
    _report(command("report", "report what is new of a job; one that is not known is created"))
    _status(command("status", "show a job"))
    _jobs(command("jobs", "list jobs, newest first"))
    _watch(command("watch", "follow a job to its end, also through restarts of the gateway", WATCH_EXITS))
    for name, text in (("cancel", "cancelled"), ("pause", "paused"), ("resume", "resumed")):
        _of_job(command(name, f"wish that a job be {text}; its producer makes it so"))
    _of_job(command("delete", "delete a job that has ended"))
    return top


def _gateway(parser: argparse.ArgumentParser, retry_for: float | None = 0.0) -> None:
    url = os.environ.get("STATUS_GATEWAY_URL") or DEFAULT_URL
    parser.add_argument(
        "--url", type=_url, default=url, help="the gateway (default: $STATUS_GATEWAY_URL, else %(default)s)"
    )
    workspace = os.environ.get("STATUS_GATEWAY_WORKSPACE") or None
    parser.add_argument(
        "--workspace", default=workspace, help="workspace of the job (default: $STATUS_GATEWAY_WORKSPACE)"
    )
    if retry_for is not None:
        parser.add_argument(
            "--retry-for",
            type=_seconds,
            default=retry_for,
            metavar="SECONDS",
            help="how long to try while the gateway is away (default: %(default)g)",
        )


def _of_job(parser: argparse.ArgumentParser, retry_for: float = 0.0) -> None:
    parser.add_argument("job", type=_job, metavar="JOB", help="the job's id")
    _json(parser)
    _gateway(parser, retry_for)


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="write the job's document, one line of JSON each")


def _backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the copy to write; must not exist")
    parser.add_argument("--database", required=True, metavar="DB", help="the gateway's database")
    parser.add_argument("--json", action="store_true", help="write what was done as a line of JSON")


def _run(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [options] -- COMMAND ARG…"
    parser.add_argument("--id", help="the job's id (default: a new one)")
    parser.add_argument("--name", help="the job's name (default: the command's)")
    parser.add_argument("--process", help="what kind of job it is")
    parser.add_argument("--label", action="append", type=_pair, default=[], metavar="K=V", help="a label; repeatable")
    parser.add_argument(
        "--lease",
        type=_seconds,
        default=LEASE,
        metavar="SECONDS",
        help="silence after which it is stalled; it is heard of three times as often (default: %(default)g)",
    )
    parser.add_argument(
        "--grace",
        type=_seconds,
        default=GRACE,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL when it is cancelled (default: %(default)g)",
    )
    parser.add_argument(
        "--deliver-for",
        type=_seconds,
        default=DELIVER_FOR,
        metavar="SECONDS",
        help="how long to try to deliver the last reports after its end (default: %(default)g)",
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="no messages of our own")
    _gateway(parser, None)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run")


def _report(parser: argparse.ArgumentParser) -> None:
    job = os.environ.get("STATUS_GATEWAY_JOB")
    parser.add_argument(
        "job",
        metavar="JOB",
        nargs="?" if job else None,
        default=job,
        help="the job's id (default: $STATUS_GATEWAY_JOB)",
    )
    parser.add_argument("--state", help="created, pending, running, paused, retrying, succeeded, failed, cancelled, …")
    parser.add_argument("--progress", type=_percent, metavar="PERCENT", help="0 to 100")
    parser.add_argument("--message", help="what it is doing, for people")
    parser.add_argument("--step", help="the step it is in")
    parser.add_argument("--error", metavar="MESSAGE", help="what went wrong")
    parser.add_argument("--label", action="append", type=_pair, default=[], metavar="K=V", help="a label; repeatable")
    parser.add_argument(
        "--detail",
        action="append",
        type=_json_pair,
        default=[],
        metavar="K=JSON",
        help="a detail; null removes it; repeatable",
    )
    parser.add_argument("--lease", type=_seconds, metavar="SECONDS", help="silence after which it is stalled")
    parser.add_argument("--result", type=_json_value, default=argparse.SUPPRESS, metavar="JSON", help="what came out")
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key counts once, however often it is sent")
    _json(parser)
    _gateway(parser, 10.0)


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--at", metavar="MOMENT", help="as it stood at a position or time")
    _of_job(parser)


def _jobs(parser: argparse.ArgumentParser) -> None:
    for name in ("state", "process", "name"):
        parser.add_argument(
            f"--{name}", action="append", default=[], help=f"only jobs of this {name}; repeatable, means or"
        )
    parser.add_argument(
        "--label",
        action="append",
        type=_pair,
        default=[],
        metavar="K=V",
        help="only jobs with it; repeatable, means and",
    )
    parser.add_argument("--limit", type=_count, default=50, metavar="N", help="how many at most (default: %(default)s)")
    _json(parser)
    _gateway(parser)


def _watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patience",
        type=_seconds,
        metavar="SECONDS",
        help="give up after so long without the gateway (default: never)",
    )
    _of_job(parser)


def _seconds(text: str) -> float:
    return _number(text, "a number of seconds", sys.float_info.max)


def _percent(text: str) -> float:
    return _number(text, "a number from 0 to 100", 100)


def _number(text: str, what: str, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} must be {what}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 1 on")
    return int(text)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text!r} must look like {DEFAULT_URL} or https://HOST/PATH")
    return text


def _job(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the job's id must not be empty")
    return text


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} must be K=V, as team=geo")
    return key, value


def _json_value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON (a string stands in double quotes): {error}") from None


def _json_pair(text: str) -> tuple[str, Any]:
    key, value = _pair(text)
    return key, _json_value(value)
