"""The commands of whoever runs jobs or waits for them: `run`, `report`, `status`, `jobs`, `watch` and the wishes."""

import argparse
import asyncio
import sys
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
EXITS: Final = {"succeeded": 0, "failed": 1, "cancelled": 2}


def run(options: argparse.Namespace) -> int:
    """Run a command as a job."""
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        sys.stderr.write("status-gateway: say what to run: status-gateway run [options] -- COMMAND ARG…\n")
        return EXIT_USAGE
    names = ("url", "process", "workspace", "lease", "grace", "deliver_for", "quiet")
    given = {name: getattr(options, name) for name in names}
    name = clean(options.name or Path(command[0]).name)
    labels = {clean(key): clean(value) for key, value in options.label}
    plan = runner.Plan(arguments=tuple(command), id=options.id or new_id(), name=name, labels=labels, **given)
    return runner.run(plan)


def report(options: argparse.Namespace) -> int:
    """Report what is new of a job."""
    members = {name: getattr(options, name) for name in ("state", "progress", "message", "step", "error", "lease")}
    said: dict[str, Any] = {name: value for name, value in members.items() if value is not None}
    if options.label:
        said["labels"] = dict(options.label)
    if options.detail:
        said["details"] = dict(options.detail)
    if "result" in options:
        said["result"] = options.result
    return asyncio.run(_report(options, said))


async def _report(options: argparse.Namespace, said: dict[str, Any]) -> int:
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
    _write(options, document)
    return 0


def status(options: argparse.Namespace) -> int:
    """Show a job."""
    document = asyncio.run(_status(options))
    if options.json:
        _write(options, document)
    else:
        show_job(document)
    return 0


async def _status(options: argparse.Namespace) -> Document:
    async with _client(options) as client:
        return await client.status(options.job, at=options.at)


def jobs(options: argparse.Namespace) -> int:
    """List jobs."""
    found = asyncio.run(_jobs(options))
    if options.json:
        for document in found:
            _write(options, document)
    else:
        show_jobs(found)
    return 0


async def _jobs(options: argparse.Namespace) -> list[Document]:
    async with _client(options) as client:
        matching = client.jobs(
            state=options.state,
            process=options.process,
            name=options.name,
            label=dict(options.label),
            limit=options.limit,
        )
        return [document async for document in matching]


def watch(options: argparse.Namespace) -> int:
    """Follow a job to its end."""
    try:
        last = asyncio.run(_watch(options))
    except ProblemError as problem:
        sys.stderr.write(f"status-gateway: {problem}\n")
        return EXIT_OTHER
    if last is None or last["state"] not in EXITS:
        sys.stderr.write(f"status-gateway: job {options.job} was deleted\n")
        return EXIT_OTHER
    return EXITS[last["state"]]


async def _watch(options: argparse.Namespace) -> Document | None:
    last: Document | None = None
    async with _client(options) as client:
        with nullcontext() if options.json else Follower() as follower:
            async with aclosing(client.watch(options.job, patience=options.patience)) as documents:
                async for last in documents:
                    if follower is None:
                        _write(options, last)
                    else:
                        follower.show(last)
    return last


def wish(options: argparse.Namespace) -> int:
    """Wish that a job be cancelled, paused or resumed."""
    document = asyncio.run(_wish(options))
    sys.stderr.write(f"status-gateway: job {options.job} is {document['state']}\n")
    _write(options, document)
    return 0


async def _wish(options: argparse.Namespace) -> Document:
    async with _client(options) as client:
        wishes = {"cancel": client.cancel, "pause": client.pause, "resume": client.resume}
        return await wishes[options.action](options.job)


def delete(options: argparse.Namespace) -> int:
    """Delete a job that has ended."""
    asyncio.run(_delete(options))
    if options.json:
        sys.stdout.buffer.write(orjson.dumps({"id": options.job, "deleted": True}) + b"\n")
    else:
        sys.stderr.write(f"status-gateway: job {options.job} is deleted\n")
    return 0


async def _delete(options: argparse.Namespace) -> None:
    async with _client(options) as client:
        await client.delete(options.job)


def _client(options: argparse.Namespace) -> Client:
    return Client(options.url, workspace=options.workspace, retry_for=options.retry_for)


def _write(options: argparse.Namespace, document: Document) -> None:
    if options.json:
        sys.stdout.buffer.write(orjson.dumps(document) + b"\n")
        sys.stdout.buffer.flush()
