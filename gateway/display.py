"""What people look at: a job, a list of jobs, and a job that moves. On a terminal by rich, else plain lines.

Law: what a job says is never let through raw: its control characters could rewrite the reader's terminal.
"""

import sys
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gateway.client.base import Document
from gateway.plain import one_line, percent

COLORS: Final = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "unknown": "magenta",
}
FIELDS: Final = ("name", "process", "step", "message", "created", "started", "finished", "updated", "attempt")


def show_job(document: Document) -> None:
    """One job, a member a line."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("job", _text(_address(document)))
    table.add_row("state", _state(document))
    table.add_row("progress", percent(document["progress"]) or "-")
    for name in FIELDS:
        if document.get(name) is not None:
            table.add_row(name, _text(str(document.get(name))))
    if document["error"]:
        table.add_row("error", _text(str(document["error"].get("message"))))
    for name in ("labels", "details", "result"):
        if document.get(name) not in (None, {}):
            table.add_row(name, _text(orjson.dumps(document.get(name)).decode()))
    for step in document["steps"]:
        table.add_row("step", _text(f"{step['name']}: {step['state']}"))
    Console().print(table)


def show_jobs(documents: Sequence[Document]) -> None:
    """A table on a terminal; else tab-separated lines: id, state, progress, name, message."""
    if not sys.stdout.isatty():
        for document in documents:
            fields = (
                document["id"],
                document["state"],
                percent(document["progress"]),
                document["name"],
                document["message"],
            )
            sys.stdout.write("\t".join(one_line(field or "") for field in fields) + "\n")
        return
    table = Table(box=None, header_style="bold")
    for column in ("job", "name", "state", "progress", "updated", "message"):
        table.add_column(column, no_wrap=True, justify="right" if column == "progress" else "left")
    for document in documents:
        name = document["name"] if document["name"] != document["id"] else ""
        updated = datetime.fromisoformat(document["updated"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        first = (_text(_address(document)), _text(name), _state(document))
        table.add_row(*first, percent(document["progress"]), updated, _text(document["message"] or ""))
    Console().print(table)


class Follower:
    """Shows a job while it moves: a bar on a terminal, else a line for each change. A context manager."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = ""
        if sys.stdout.isatty():
            columns = (TextColumn("{task.fields[state]}"), BarColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, TimeElapsedColumn(), console=Console())

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, document: Document) -> None:
        """The job as it stands now."""
        words = (
            percent(document["progress"]),
            document["step"],
            document["message"],
            (document["error"] or {}).get("message"),
        )
        text = " ".join(one_line(str(word)) for word in words if word)
        if self._bar is not None:
            self._move(self._bar, document, text)
            return
        said = f"{document['state']} {text}".rstrip()
        if said != self._said:
            sys.stdout.write(f"{document['updated']} {said}\n")
            sys.stdout.flush()
        self._said = said

    def _move(self, bar: Progress, document: Document, text: str) -> None:
        state = f"[{COLORS.get(document['state'], 'white')}]{document['state']}"
        if self._task is None:
            self._task = bar.add_task(text, total=None, state=state)
        # Without a total the bar swings to and fro: the job moves, nobody knows how far it is.
        total = None if document["progress"] is None and not document["terminal"] else 100
        done = 100.0 if document["state"] == "succeeded" else document["progress"] or 0.0
        bar.update(self._task, description=text, total=total, completed=done, state=state)


def _address(document: Document) -> str:
    """The id, with the workspace where it is not the usual one."""
    return document["id"] if document["workspace"] == "default" else f"{document['workspace']}/{document['id']}"


def _state(document: Document) -> Text:
    stalled = " (stalled)" if document["stalled"] else ""
    return Text(document["state"] + stalled, style=COLORS.get(document["state"], ""))


def _text(text: str) -> Text:
    return Text(one_line(text))
