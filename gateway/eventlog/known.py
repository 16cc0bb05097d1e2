"""The jobs that a batch is about, by whatever name its entries call them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.eventlog.base import Entry
from gateway.eventlog.hot import HotJob, HotJobs
from gateway.record import alias_of

JobKey = tuple[str, str]


@dataclass(slots=True)
class Known:
    """Jobs by their keys; `names` has the key of each that is called by its alias (workspace, alias)."""

    jobs: dict[JobKey, HotJob] = field(default_factory=dict)
    names: dict[JobKey, JobKey] = field(default_factory=dict)

    def find(self, workspace: str, name: str) -> HotJob | None:
        """The job of that id or alias."""
        key = workspace, name
        found = self.jobs.get(key)
        if found is None and key in self.names:
            found = self.jobs.get(self.names[key])
        return found

    def add_hot(self, hot: HotJobs, workspace: str, name: str) -> bool:
        """Add the job of that id or alias if it is hot, and say whether it is."""
        found = hot.look(workspace, name)
        if found is None:
            return False
        job_id = found.job.id
        self.jobs[workspace, job_id] = found
        if job_id != name:
            self.names[workspace, name] = workspace, job_id
        return True

    def add_read(self, found: HotJob) -> None:
        """Add a job that was read from the file, unless it is here."""
        key = found.job.key
        self.jobs.setdefault(key, found)
        self.names[key[0], alias_of(*key)] = key


def known_of(hot: HotJobs, entries: Iterable[Entry]) -> tuple[Known, list[JobKey]]:
    """The hot jobs among those that entries name, and the names that have to be looked up in the file."""
    known = Known()
    missing: dict[JobKey, None] = {}
    for entry in entries:
        if known.add_hot(hot, entry.workspace, entry.id):
            continue
        missing[entry.workspace, entry.id] = None
        if entry.identity is not None:  # it may be created, unless another job has its alias
            alias = alias_of(entry.workspace, entry.id)
            if not known.add_hot(hot, entry.workspace, alias):
                missing[entry.workspace, alias] = None
    return known, list(missing)
