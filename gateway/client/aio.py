"""`Client`: one gateway, for producers and readers, on asyncio."""

import math
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast, overload
from uuid import uuid4

from gateway.client.base import DEFAULT_URL, RETRY_FOR, TIMEOUT, Document, Entry, ProblemError
from gateway.client.job import DELIVER_FOR, LEASE, JobScope, OnCancel
from gateway.client.transport import Params, Transport
from gateway.client.watch import Event, Watch

PAGE: Final = 100  # jobs or records asked for at once
Words: TypeAlias = str | Iterable[str]
Labels: TypeAlias = Mapping[str, str] | Iterable[str]


class Client:
    """A gateway at `url`. Jobs are meant in `workspace`, where it is given; `key` is an API key.

    Each call is tried again for `retry_for` seconds while the gateway is away, an attempt lasting `timeout` seconds at
    most, then raises Unreachable; a refusal raises ProblemError. To be used as `async with Client() as client:`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        workspace: str | None = None,
        key: str | None = None,
        timeout: float = TIMEOUT,
        retry_for: float = RETRY_FOR,
    ) -> None:
        self.transport = Transport(url, workspace=workspace, key=key, timeout=timeout, retry_for=retry_for)

    async def __aenter__(self) -> Self:
        await self.transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; where the client is not used in a `with` block."""
        await self.transport.http.aclose()

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
    ) -> JobScope:
        """`async with client.job(name=…) as job:`; how the block ends is how the job ends. See JobScope."""
        identity = {"id": id, "name": name, "process": process, "workspace": self.transport.workspace}
        return JobScope(
            self.transport, identity, labels=labels, lease=lease, on_cancel=on_cancel, deliver_for=deliver_for
        )

    async def create(
        self,
        *,
        id: str | None = None,
        name: str | None = None,
        process: str | None = None,
        idempotency_key: str | None = None,
        **members: Any,
    ) -> Document:
        """Make a job: `state` created, pending (the default) or running, and any members of a report."""
        identity = {"id": id, "name": name, "process": process, "workspace": self.transport.workspace}
        body = {member: value for member, value in identity.items() if value is not None} | members
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return self.transport.document(await self.transport.call("POST", "/v1/jobs", body=body, headers=headers))

    async def report(self, job: str, *, idempotency_key: str | None = None, **members: Any) -> Document:
        """One report: `state`, `progress`, `message`, …; `time` is an aware datetime. Nothing at all is a heartbeat."""
        return await self._report(job, members, idempotency_key)

    async def reports(
        self, job: str, reports: Iterable[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Document:
        """Several reports, of which all are taken or none."""
        return await self._report(job, [dict(report) for report in reports], idempotency_key)

    async def _report(self, job: str, body: object, key: str | None) -> Document:
        path = self.transport.job_path(job, "events")
        headers = {"Idempotency-Key": key or uuid4().hex}
        answer = await self.transport.call(
            "POST", path, params=self.transport.in_workspace(), body=body, headers=headers
        )
        return self.transport.document(answer)

    @overload
    async def status(self, job: str, *, at: str | None = None) -> Document: ...

    @overload
    async def status(self, job: str, *, since: str, wait: float = 0.0) -> Document | None: ...

    async def status(
        self, job: str, *, at: str | None = None, since: str | None = None, wait: float = 0.0
    ) -> Document | None:
        """The job now, or as it stood `at` a position or time.

        With `since`, the position of a document, None if the job has not changed, after up to `wait` (≤ 60) seconds.
        """
        params = [*self.transport.in_workspace(), *([("at", at)] if at else [])]
        headers = {"If-None-Match": f'"{since}"'} if since else {}
        if wait:
            headers["Prefer"] = f"wait={math.ceil(wait)}"
        answer = await self.transport.call(
            "GET", self.transport.job_path(job), params=params, headers=headers, wait=wait
        )
        return None if answer.status_code == 304 else self.transport.document(answer)

    async def jobs(
        self,
        *,
        state: Words = (),
        process: Words = (),
        name: Words = (),
        label: Labels = (),
        limit: int | None = None,
    ) -> AsyncGenerator[Document, None]:
        """The jobs that match, newest first, page by page, `limit` at most. Of `label`s all must match."""
        params = self._filter(state=state, process=process, name=name, label=label)
        async with aclosing(self._pages("/v1/jobs", params, "jobs", limit)) as items:
            async for item in items:
                yield cast("Document", item)

    async def history(self, job: str, *, limit: int | None = None) -> AsyncGenerator[Entry, None]:
        """What happened to the job, record by record, oldest first, as far as it is kept."""
        path = self.transport.job_path(job, "events")
        async with aclosing(self._pages(path, self.transport.in_workspace(), "records", limit)) as items:
            async for item in items:
                yield cast("Entry", item)

    async def _pages(self, path: str, params: Params, member: str, limit: int | None) -> AsyncGenerator[Any, None]:
        left, after = limit, None
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page = [*params, ("limit", str(size)), *([("after", after)] if after else [])]
            answer = self.transport.read(await self.transport.call("GET", path, params=page))
            for item in answer[member]:
                yield item
            left = None if left is None else left - len(answer[member])
            after = answer["next"]
            if after is None:
                return

    def _filter(self, **words: Words | Labels) -> Params:
        params = [*self.transport.in_workspace()]
        for name, value in words.items():
            if isinstance(value, str):
                params.append((name, value))
            elif isinstance(value, Mapping):
                params += [(name, f"{key}:{text}") for key, text in value.items()]
            else:
                params += [(name, word) for word in value]
        return params

    async def cancel(self, job: str) -> Document:
        """Wish that the job be cancelled; one that has not begun is cancelled at once."""
        return await self._wish(job, "cancel")

    async def pause(self, job: str) -> Document:
        """Wish that the job pause."""
        return await self._wish(job, "pause")

    async def resume(self, job: str) -> Document:
        """Wish that the job go on."""
        return await self._wish(job, "resume")

    async def _wish(self, job: str, wish: str) -> Document:
        path = self.transport.job_path(job, wish)
        # With a key, as a wish whose answer got lost may have ended the job, which refuses it the second time.
        headers = {"Idempotency-Key": uuid4().hex}
        answer = await self.transport.call("POST", path, params=self.transport.in_workspace(), headers=headers)
        return self.transport.document(answer)

    async def delete(self, job: str) -> None:
        """Delete a job that has ended."""
        failed: list[Exception] = []
        path = self.transport.job_path(job)
        try:
            await self.transport.call("DELETE", path, params=self.transport.in_workspace(), on_trouble=failed.append)
        except ProblemError as problem:
            if problem.status != 410 or not failed:
                raise
            # The answer to an earlier attempt got lost, but the job is gone, as was wanted.

    def watch(
        self, job: str, *, since: str | None = None, min_interval: int | None = None, patience: float | None = None
    ) -> AsyncGenerator[Document, None]:
        """The job's document now and at each change, until it has ended or was deleted, through lost connections.

        `since` is a position to go on from; `min_interval` (milliseconds) conflates progress, 0 forbids it; `patience`
        is how many seconds without a gateway are borne, None for ever once it has answered.
        """
        return _documents(self.events(job, since=since, min_interval=min_interval, patience=patience))

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
    ) -> AsyncGenerator[Document, None]:
        """The documents of many jobs, named (`id` or `workspace/id`, 200 at most) or matching, at each change."""
        words = self._filter(job=jobs, state=state, process=process, label=label)
        return _documents(self._events("/v1/events", words, since, min_interval, patience))

    def events(
        self, job: str, *, since: str | None = None, min_interval: int | None = None, patience: float | None = None
    ) -> AsyncGenerator[Event, None]:
        """As `watch`, with the kind of each event: also that the job was deleted."""
        path = self.transport.job_path(job, "events")
        return self._events(path, self.transport.in_workspace(), since, min_interval, patience)

    def _events(
        self, path: str, params: Params, since: str | None, min_interval: int | None, patience: float | None
    ) -> AsyncGenerator[Event, None]:
        if min_interval is not None:
            params = [*params, ("min_interval", str(min_interval))]
        return Watch(self.transport, path, params, since=since, patience=patience).events()


async def _documents(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Document, None]:
    async with aclosing(events):
        async for event in events:
            if event.kind != "deleted":
                yield event.document
