"""Requests to one gateway: sent again while it is away, their refusals raised as `ProblemError`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias, cast
from urllib.parse import quote

import httpx
import orjson

from gateway.client.base import RETRIED, RETRY_FOR, TIMEOUT, Backoff, Document, ProblemError, Unreachable, retry_after

Params: TypeAlias = Sequence[tuple[str, str]]
Worry: TypeAlias = Callable[[Exception], None]


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt brought no answer, and how many seconds the gateway wants to be left alone."""

    error: Exception
    at_least: float


class Transport:
    """One gateway at `url`, which may end in the path where it is mounted. `timeout` bounds one attempt, in seconds."""

    def __init__(
        self,
        url: str,
        *,
        workspace: str | None = None,
        key: str | None = None,
        timeout: float = TIMEOUT,
        retry_for: float = RETRY_FOR,
    ) -> None:
        host = _host(url)
        self.url = url.rstrip("/")
        self.workspace = workspace
        self.timeout = timeout
        self.retry_for = retry_for
        self.http = httpx.AsyncClient(
            headers={"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=timeout,
            # Each open stream holds a connection of its own; a limit would let watchers starve reports.
            limits=httpx.Limits(max_connections=None),
            # Loading the certificates takes longer than everything else here, and plain http has no use for them.
            verify=url.startswith("https:"),
            # A proxy for the world outside can't reach this machine's own loopback.
            trust_env=not (host in {"localhost", "::1"} or host.startswith("127.")),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    def job_path(self, job: str, *more: str) -> str:
        """The path of a job, or of what lies below it."""
        if not job:
            raise ValueError("the job's id must not be empty")
        return "/".join(("/v1/jobs", quote(job, safe="~:"), *more))

    def in_workspace(self) -> Params:
        """The parameters that say in which workspace a job is meant."""
        return [("workspace", self.workspace)] if self.workspace else []

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Params = (),
        body: object = None,
        headers: Mapping[str, str] | None = None,
        wait: float = 0.0,
        retry_for: float | None = None,
        on_trouble: Worry | None = None,
    ) -> httpx.Response:
        """The answer, 2xx or 304. Raises ProblemError for a refusal, Unreachable after `retry_for` seconds without one.

        `wait` is how many seconds longer than usual the answer may take; `on_trouble` hears of each failed attempt.
        """
        content = None if body is None else orjson.dumps(body)
        sent = dict(headers or {}) | ({} if body is None else {"Content-Type": "application/json"})
        timeout = self.timeout + wait
        request = self.http.build_request(
            method, self.url + path, params=list(params), content=content, headers=sent, timeout=timeout
        )
        deadline = asyncio.get_running_loop().time() + (self.retry_for if retry_for is None else retry_for)
        backoff = Backoff()
        while True:
            outcome = await self._attempt(request, timeout)
            if isinstance(outcome, httpx.Response):
                return outcome
            if on_trouble:
                on_trouble(outcome.error)
            delay = backoff.next(outcome.at_least)
            if asyncio.get_running_loop().time() + delay > deadline:
                raise outcome.error
            await asyncio.sleep(delay)

    async def _attempt(self, request: httpx.Request, timeout: float) -> "httpx.Response | _Failure":
        """One attempt; raises ProblemError for a refusal that no later attempt would change."""
        try:
            async with asyncio.timeout(timeout):
                response = await self.http.send(request)
        except (httpx.RequestError, TimeoutError) as error:
            return _Failure(self.unreachable(error), 0.0)
        if response.is_success or response.status_code == 304:
            return response
        if response.status_code not in RETRIED:
            raise problem(response)
        return _Failure(problem(response), retry_after(response.headers.get("Retry-After")))

    def unreachable(self, cause: Exception) -> Unreachable:
        """The error that says so in one line."""
        what = (
            "does not answer in time"
            if isinstance(cause, TimeoutError | httpx.TimeoutException)
            else "can't be reached"
        )
        error = Unreachable(f"the gateway at {self.url} {what}: {str(cause) or type(cause).__name__}")
        error.__cause__ = cause
        return error

    def read(self, response: httpx.Response) -> Any:
        """The JSON of a good answer. Raises Unreachable where it is none, for then something else listens there."""
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError as error:
            raise Unreachable(f"{self.url} answers, but not as a status gateway") from error

    def document(self, response: httpx.Response) -> Document:
        """The job's document in an answer."""
        value = self.read(response)
        if not isinstance(value, dict) or "version" not in value or "state" not in value:
            raise Unreachable(f"{self.url} answers, but not as a status gateway")
        return cast("Document", value)


def problem(response: httpx.Response) -> ProblemError:
    """The refusal in an answer; also of one that is no problem document, as proxies send them."""
    try:
        value = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        return ProblemError(response.status_code, response.reason_phrase, f"{response.request.url} was refused")
    known = {name: value.pop(name, None) for name in ("type", "title", "status", "detail")}
    return ProblemError(
        response.status_code,
        str(known["title"] or response.reason_phrase),
        str(known["detail"] or ""),
        str(known["type"] or "about:blank"),
        value,
    )


def _host(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"url {url!r} is no address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ValueError(f"url {url!r} must look like http://HOST:PORT or https://HOST/PATH")
    return parsed.host
