"""Big logs, made quickly: a small one that the real log has written, multiplied by SQL.

Law: what comes out is what the log itself would have written for the same reports, row for row; a test holds it. All
jobs have five records, ids that follow from their number, and states, workspaces, processes and labels in turn.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.eventlog.base import Entry
from gateway.eventlog.schema import migrations
from gateway.eventlog.sqlite import SqliteLog
from gateway.report import Identity, parse_report
from tests.bench.load import SCRATCH, LoadFailed

VERSION: Final = 1  # of what is written here: one that is kept from another run has to be the same
BLOCK: Final = 10  # jobs that report in turn, so that a job's records do not lie side by side
BATCH: Final = 500  # reports of one transaction, as many as the log takes
RECORDS: Final = 5  # of each job
TEMPLATE: Final = 1000  # jobs of the log that is multiplied; what the jobs have in turn repeats after 500
BYTES_A_JOB: Final = 6000  # on disk, with all indexes
WRITTEN: Final = datetime(2026, 2, 19, 10, tzinfo=UTC)
PREFIX: Final = "019c0000-0000-7000-8000-"  # of ids; the job's number follows with 12 hexadecimal digits
STATES: Final = ("running", "succeeded", "failed", "pending")
TEAMS: Final = ("geo", "sea", "air", "ice", "sun")
STEPS: Final = 300  # of the large document

# How a job's number goes into the members that hold its id, and an offset into those that hold one.
_ID: Final = f"replace(%s, '{PREFIX}' || printf('%%012x', job - 1), '{PREFIX}' || printf('%%012x', job - 1 + :jobs))"
_POSITION: Final = "replace(%s, :epoch || '-' || offset || '\"', :epoch || '-' || (offset + :records) || '\"')"
_SHIFTED: Final = "CASE WHEN %s > 0 THEN %s + %s ELSE %s END"


def keeping_for_good() -> tuple[str, ...]:
    """The gateway's arguments by which it leaves these logs, whose jobs ended long ago, as they are."""
    return ("--progress-retention", "0", "--retention-age", "0")


def job_id(number: int) -> str:
    """The id of a job by its number, from 0."""
    return f"{PREFIX}{number:012x}"


def workspace(number: int) -> str:
    """The workspace of a job by its number."""
    return f"w{number // 4 % 5}"


def database(jobs: int) -> Path:
    """A log of so many jobs, made where it is not here yet. Raises LoadFailed where the disk has no room for it."""
    schema = hashlib.sha256("".join(migrations()).encode()).hexdigest()[:12]
    file = SCRATCH / f"log-{VERSION}-{schema}-{jobs}.db"
    if file.exists():
        return file
    SCRATCH.mkdir(exist_ok=True)
    needed, free = jobs * BYTES_A_JOB, shutil.disk_usage(SCRATCH).free
    if free < needed:
        raise LoadFailed(f"a log of {jobs} jobs needs {needed >> 20} MiB in {SCRATCH}; {free >> 20} are free")
    part = file.with_suffix(f".{os.getpid()}.part")
    template = min(jobs, TEMPLATE)
    asyncio.run(write(part, list(entries(range(template)))))
    multiply(part, template, -(-jobs // template))
    part.rename(file)
    return file


def forget() -> None:
    """Delete the big logs."""
    for file in SCRATCH.glob("log-*"):
        file.unlink()


async def write(file: Path, what: Sequence[Entry]) -> None:
    """Write what is to be appended by the real log, and leave one plain file."""
    log = await SqliteLog.open(str(file), clock=lambda: WRITTEN)
    writing = asyncio.create_task(log.run())
    for begin in range(0, len(what), BATCH):
        answers = await log.append(what[begin : begin + BATCH])
        refused = [answer for answer in answers if isinstance(answer, GatewayError)]
        if refused:
            raise LoadFailed(f"the log refused a report: {refused[0]}")
    log.stop_writing()
    await writing
    await log.close()
    await asyncio.to_thread(Path(f"{file}.lock").unlink)


def entries(numbers: range) -> Iterator[Entry]:
    """What makes the jobs of these numbers: all first reports of a block, then all second ones, and so on."""
    for begin in range(numbers.start, numbers.stop, BLOCK):
        for step in range(RECORDS):
            for number in range(begin, min(begin + BLOCK, numbers.stop)):
                yield _entry(number, step)


def _entry(number: int, step: int) -> Entry:
    said: dict[str, Any] = {"message": f"Processing step {step} of 4", "details": {"t": step}}
    end = STATES[number % 4]
    if step == 0:
        said |= {"state": "pending", "labels": {"team": TEAMS[number // 100 % 5]}}
    elif end != "pending":
        said |= {"progress": 20 * step}
        if step == 1:
            said |= {"state": "running"}
        elif step == RECORDS - 1 and end != "running":
            said |= {"state": end}
    identity = Identity(job_id(number), workspace(number), None, f"process-{number // 20 % 5}") if step == 0 else None
    return Entry(workspace(number), job_id(number), (parse_report(said),), identity=identity)


def folded(records: int) -> list[Entry]:
    """What makes one large document that changes a little with each record."""
    steps = [{"name": f"step-{number}", "state": "pending", "details": {"n": 0}} for number in range(STEPS)]
    first = Entry("default", "large", (parse_report({"state": "running", "steps": steps}),), identity=Identity("large"))
    changes = [
        parse_report({"steps": [{"name": f"step-{n % STEPS}", "details": {"n": n}}], "details": {"t": n}})
        for n in range(1, records)
    ]
    return [first, *(Entry("default", "large", (change,)) for change in changes)]


def multiply(file: Path, jobs: int, times: int) -> None:
    """Give the log of a file, whose jobs are numbered from 0, so many times as many jobs."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        for pragma in ("journal_mode = DELETE", "synchronous = OFF", "cache_size = -400000", "temp_store = MEMORY"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("BEGIN")
        indexes = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql NOT NULL").fetchall()
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        records = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()[0]
        (epoch,) = db.execute("SELECT epoch FROM epochs").fetchone()
        copies = [_copy(db, table) for table in _tables(db)]
        for time in range(1, times):
            for copy in copies:
                db.execute(copy, {"jobs": time * jobs, "records": time * records, "epoch": epoch})
        for name, count in (("jobs", jobs), ("records", records)):
            db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (count * times, name))
        for _, sql in indexes:
            db.execute(sql)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")


def _tables(db: sqlite3.Connection) -> list[str]:
    """The tables whose rows belong to a job."""
    sql = (
        "SELECT t.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c "
        "WHERE t.type = 'table' AND c.name = 'job'"
    )
    return [name for (name,) in db.execute(sql)]


def _copy(db: sqlite3.Connection, table: str) -> str:
    """The statement that copies what the table holds now, moved on by :jobs jobs and :records records."""
    moved = {"job": ":jobs", **dict.fromkeys(("first", "last", "offset", "base", "tended"), ":records")}
    columns = []
    for _, name, kind, *_ in db.execute(f"PRAGMA table_info({table})"):
        if name in moved:
            columns.append(_SHIFTED % (name, name, moved[name], name))
        elif name in ("id", "name"):
            columns.append(_ID % name)
        elif name == "body":
            columns.append(f"CAST({_POSITION % (_ID % 'CAST(body AS TEXT)')} AS {kind})")
        else:
            columns.append(name)
    db.execute(f"CREATE TEMP TABLE first_{table} AS SELECT * FROM {table}")
    return f"INSERT INTO {table} SELECT {', '.join(columns)} FROM first_{table}"
