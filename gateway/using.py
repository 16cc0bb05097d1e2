"""The commands of whoever runs jobs or waits for them: `run`, `report`, `status`, `jobs`, `watch` and the wishes."""

import argparse
import sys
from collections.abc import Mapping
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import Any, Final

import orjson

from gateway import runner
from gateway.client.aio import Client
from gateway.client.base import Document, ProblemError, clean, new_id
from gateway.display import Follower, show_job, show_jobs

EXIT_USAGE: Final = 2
EXIT_OTHER: Final = 3  # of `watch`: the job was deleted, or there is nothing to follow
MAX_NAME: Final = 1000  # characters that the gateway takes; the path of a command may be longer
EXITS: Final = {"succeeded": 0, "failed": 1, "cancelled": 2}


def run(options: argparse.Namespace) -> int:
    """Run a command as a job."""
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        sys.stderr.write("status-gateway: say what to run: status-gateway run [options] -- COMMAND ARG…\n")
        return EXIT_USAGE
    names = ("url", "process", "workspace", "lease", "grace", "deliver_for", "quiet")
    given = {name: getattr(options, name) for name in names}
    name = clean(options.name or Path(command[0]).name or command[0] or "command")[:MAX_NAME]
    labels = {clean(key): clean(value) for key, value in options.label}
    plan = runner.Plan(arguments=tuple(command), id=options.id or new_id(), name=name, labels=labels, **given)
    return runner.run(plan)


async def report(options: argparse.Namespace) -> int:
    """Report what is new of a job."""
    members = {name: getattr(options, name) for name in ("state", "progress", "message", "step", "error", "lease")}
    said: dict[str, Any] = {name: value for name, value in members.items() if value is not None}
    if options.label:
        said["labels"] = dict(options.label)
    if options.detail:
        said["details"] = dict(options.detail)
    if "result" in options:
        said["result"] = options.result
    async with _client(options) as client:
        try:
            document = await client.report(options.job, idempotency_key=options.idempotency_key, **said)
        except ProblemError as problem:
            if problem.code != "job-not-found":
                raise
            await client.create(id=options.job)
            document = await client.report(options.job, idempotency_key=options.idempotency_key, **said)
    if document["state"] in ("cancelling", "pausing", "resuming"):
        sys.stderr.write(f"status-gateway: job {options.job} is {document['state']}: somebody wishes so\n")
    if options.json:
        _write(document)
    return 0


async def status(options: argparse.Namespace) -> int:
    """Show a job."""
    async with _client(options) as client:
        document = await client.status(options.job, at=options.at)
    if options.json:
        _write(document)
    else:
        show_job(document)
    return 0


async def jobs(options: argparse.Namespace) -> int:
    """List jobs."""
    filters = {name: getattr(options, name) for name in ("state", "process", "name", "limit")}
    async with _client(options) as client:
        found = [document async for document in client.jobs(label=dict(options.label), **filters)]
    if options.json:
        for document in found:
            _write(document)
    else:
        show_jobs(found)
    return 0


async def watch(options: argparse.Namespace) -> int:
    """Follow a job to its end."""
    last: Document | None = None
    try:
        async with _client(options) as client:
            with nullcontext() if options.json else Follower() as follower:
                async with aclosing(client.watch(options.job, patience=options.patience)) as documents:
                    async for last in documents:
                        if follower is None:
                            _write(last)
                        else:
                            follower.show(last)
    except ProblemError as problem:
        sys.stderr.write(f"status-gateway: {problem}\n")
        return EXIT_OTHER
    if last is None or last["state"] not in EXITS:
        sys.stderr.write(f"status-gateway: job {options.job} was deleted\n")
        return EXIT_OTHER
    return EXITS[last["state"]]


async def wish(options: argparse.Namespace) -> int:
    """Wish that a job be cancelled, paused or resumed."""
    async with _client(options) as client:
        wishes = {"cancel": client.cancel, "pause": client.pause, "resume": client.resume}
        document = await wishes[options.action](options.job)
    if options.json:
        _write(document)
    else:
        sys.stderr.write(f"status-gateway: job {options.job} is {document['state']}\n")
    return 0


async def delete(options: argparse.Namespace) -> int:
    """Delete a job that has ended."""
    async with _client(options) as client:
        await client.delete(options.job)
    if options.json:
        _write({"id": options.job, "deleted": True})
    else:
        sys.stderr.write(f"status-gateway: job {options.job} is deleted\n")
    return 0


def _client(options: argparse.Namespace) -> Client:
    return Client(options.url, workspace=options.workspace, retry_for=options.retry_for)


def _write(document: Mapping[str, object]) -> None:
    sys.stdout.buffer.write(orjson.dumps(document) + b"\n")
    sys.stdout.buffer.flush()
