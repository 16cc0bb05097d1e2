"""`SyncClient`: the same client for code without asyncio.

Law: there is one client, not two. It lives on an event loop in a daemon thread of its own, to which every call here is
handed; so heartbeats and reports go on while the caller's code computes.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, overload

from gateway.client.aio import Client, Labels, Words
from gateway.client.base import DEFAULT_URL, RETRY_FOR, TIMEOUT, Document, Entry, State
from gateway.client.job import DELIVER_FOR, LEASE, JobScope, OnCancel
from gateway.client.outbox import Report
from gateway.client.portal import Portal
from gateway.client.watch import Event


class SyncJob:
    """A job being done in a `with` block; what is said of JobScope holds here too."""

    def __init__(self, portal: Portal, scope: JobScope) -> None:
        self._portal = portal
        self._scope = scope

    @property
    def id(self) -> str:
        """The job's id, known before the gateway has heard of it."""
        return self._scope.id

    @property
    def document(self) -> Document | None:
        """What the gateway said last, None until it has answered."""
        return self._scope.document

    @property
    def cancelling(self) -> bool:
        """Whether somebody wishes the job to be cancelled, or has cancelled it."""
        return self._scope.cancelling

    @property
    def undelivered(self) -> list[Report]:
        """The reports that the gateway has not acknowledged yet."""
        return self._scope.undelivered

    def progress(self, percent: float | None, message: str | None = None, *, step: str | None = None) -> None:
        """Say how far the job is, 0 to 100 (None where it is not known), and what it is doing."""
        self._portal.call(self._scope.progress(percent, message, step=step))

    def step(
        self,
        name: str,
        *,
        state: State | None = None,
        error: str | Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
        tasks: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Say something of one step; the one that is said to be running is the job's present step."""
        self._portal.call(self._scope.step(name, state=state, error=error, details=details, tasks=tasks))

    def report(self, **members: Any) -> None:
        """Report any members; a terminal `state` is the block's last word."""
        self._portal.call(self._scope.report(**members))

    def flush(self, timeout: float = DELIVER_FOR) -> bool:
        """Whether all is delivered after at most `timeout` seconds. Raises ProblemError for what was refused."""
        return self._portal.call(self._scope.flush(timeout))

    def __enter__(self) -> Self:
        self._portal.call(self._scope.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal.call(self._scope.__aexit__(kind, error, trace))


class SyncClient:
    """A gateway at `url`; parameters, methods and errors are those of Client. `with SyncClient() as client:`."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        workspace: str | None = None,
        key: str | None = None,
        timeout: float = TIMEOUT,
        retry_for: float = RETRY_FOR,
    ) -> None:
        self._client = Client(url, workspace=workspace, key=key, timeout=timeout, retry_for=retry_for)
        self._portal = Portal()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread; where the client is not used in a `with` block."""
        if self._portal.alive:
            self._portal.call(self._client.close())
            self._portal.close()

    def job(
        self,
        *,
        name: str | None = None,
        id: str | None = None,
        process: str | None = None,
        labels: Mapping[str, str] | None = None,
        lease: float | None = LEASE,
        on_cancel: OnCancel = "raise",
        deliver_for: float = DELIVER_FOR,
    ) -> SyncJob:
        """`with client.job(name=…) as job:`; how the block ends is how the job ends."""
        scope = self._client.job(
            name=name,
            id=id,
            process=process,
            labels=labels,
            lease=lease,
            on_cancel=on_cancel,
            deliver_for=deliver_for,
        )
        return SyncJob(self._portal, scope)

    def create(
        self,
        *,
        id: str | None = None,
        name: str | None = None,
        process: str | None = None,
        idempotency_key: str | None = None,
        **members: Any,
    ) -> Document:
        """Make a job."""
        return self._portal.call(
            self._client.create(id=id, name=name, process=process, idempotency_key=idempotency_key, **members)
        )

    def report(self, job: str, *, idempotency_key: str | None = None, **members: Any) -> Document:
        """One report."""
        return self._portal.call(self._client.report(job, idempotency_key=idempotency_key, **members))

    def reports(
        self, job: str, reports: Iterable[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Document:
        """Several reports, of which all are taken or none."""
        return self._portal.call(self._client.reports(job, reports, idempotency_key=idempotency_key))

    @overload
    def status(self, job: str, *, at: str | None = None) -> Document: ...

    @overload
    def status(self, job: str, *, since: str, wait: float = 0.0) -> Document | None: ...

    def status(
        self, job: str, *, at: str | None = None, since: str | None = None, wait: float = 0.0
    ) -> Document | None:
        """The job now, as it stood `at` a moment, or its change `since` a position."""
        if since is None:
            return self._portal.call(self._client.status(job, at=at))
        return self._portal.call(self._client.status(job, since=since, wait=wait))

    def jobs(
        self,
        *,
        state: Words = (),
        process: Words = (),
        name: Words = (),
        label: Labels = (),
        limit: int | None = None,
    ) -> Generator[Document, None, None]:
        """The jobs that match, newest first."""
        return self._portal.iterate(
            self._client.jobs(state=state, process=process, name=name, label=label, limit=limit)
        )

    def history(self, job: str, *, limit: int | None = None) -> Generator[Entry, None, None]:
        """What happened to the job, oldest first."""
        return self._portal.iterate(self._client.history(job, limit=limit))

    def cancel(self, job: str) -> Document:
        """Wish that the job be cancelled."""
        return self._portal.call(self._client.cancel(job))

    def pause(self, job: str) -> Document:
        """Wish that the job pause."""
        return self._portal.call(self._client.pause(job))

    def resume(self, job: str) -> Document:
        """Wish that the job go on."""
        return self._portal.call(self._client.resume(job))

    def delete(self, job: str) -> None:
        """Delete a job that has ended."""
        self._portal.call(self._client.delete(job))

    def watch(
        self, job: str, *, since: str | None = None, min_interval: int | None = None, patience: float | None = None
    ) -> Generator[Document, None, None]:
        """The job's document now and at each change, until it has ended or was deleted."""
        return self._portal.iterate(self._client.watch(job, since=since, min_interval=min_interval, patience=patience))

    def watch_many(
        self,
        *,
        jobs: Iterable[str] = (),
        state: Words = (),
        process: Words = (),
        label: Labels = (),
        since: str | None = None,
        min_interval: int | None = None,
        patience: float | None = None,
    ) -> Generator[Document, None, None]:
        """The documents of many jobs at each change."""
        return self._portal.iterate(
            self._client.watch_many(
                jobs=jobs,
                state=state,
                process=process,
                label=label,
                since=since,
                min_interval=min_interval,
                patience=patience,
            )
        )

    def events(
        self, job: str, *, since: str | None = None, min_interval: int | None = None, patience: float | None = None
    ) -> Generator[Event, None, None]:
        """As `watch`, with the kind of each event."""
        return self._portal.iterate(self._client.events(job, since=since, min_interval=min_interval, patience=patience))
