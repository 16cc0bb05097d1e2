"""Following jobs with the client: from any fault of the connection it goes on, and never backwards."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from gateway.client import Client, Document, Event, ProblemError, Unreachable
from gateway.client.transport import Transport
from gateway.client.watch import Watch
from tests.api import served
from tests.faulty import Faulty, cut, frame, job, reply, stream
from tests.processes import Server, serving

RETRY = "retry: 10\n\n"
END = frame("end", {"reason": "terminal"})
NO_CONTENT = reply(204)


def at(offset: int, kind: str = "progress", **members: Any) -> str:
    return frame(kind, job(offset=offset, version=offset, **members), id=f"aaaaaaaa-{offset}")


async def watched(faulty: Faulty, **options: Any) -> list[int]:
    """The versions that a watch of job `j` shows to its end."""
    async with asyncio.timeout(60), Client(faulty.url, retry_for=30) as client:
        return [document["version"] async for document in client.watch("j", **options)]


def cursors(faulty: Faulty) -> list[str | None]:
    return [request.headers.get("last-event-id") for request in faulty.requests]


async def test_a_cut_stream_goes_on_after_the_last_frame_received_whole() -> None:
    half = at(3)[:-1]
    async with Faulty(
        stream(RETRY, at(1, "snapshot"), at(2), half), cut, stream(RETRY, at(3), at(4)), stream(END)
    ) as faulty:
        assert await watched(faulty) == [1, 2, 3, 4]
        assert cursors(faulty) == [None, "aaaaaaaa-2", "aaaaaaaa-2", "aaaaaaaa-4"]


async def test_the_watch_ends_at_204() -> None:
    async with Faulty(stream(RETRY, at(1, "snapshot"), at(2, terminal=True)), NO_CONTENT) as faulty:
        assert await watched(faulty) == [1, 2]


async def test_sync_moves_the_cursor_without_showing_anything() -> None:
    sync = frame("sync", {"head": "aaaaaaaa-9"}, id="aaaaaaaa-9")
    async with Faulty(stream(RETRY, at(1, "snapshot"), sync), stream(END)) as faulty:
        assert await watched(faulty) == [1]
        assert cursors(faulty) == [None, "aaaaaaaa-9"]


async def test_what_is_sent_again_is_not_shown_again() -> None:
    again = stream(RETRY, at(2, "snapshot"), at(1), at(2), at(3), END)
    async with Faulty(stream(RETRY, frame("snapshot", job(offset=2, version=2))), again) as faulty:
        assert await watched(faulty) == [2, 3]


async def test_after_an_expired_cursor_the_same_job_does_not_step_back() -> None:
    reset = frame("reset", {"reason": "expired", "requested": "aaaaaaaa-5"})
    async with Faulty(
        stream(RETRY, at(5, "snapshot")), stream(RETRY, reset, frame("snapshot", job(offset=5, version=5)), at(6), END)
    ) as faulty:
        assert await watched(faulty, since="aaaaaaaa-3") == [5, 6]
        assert "after=aaaaaaaa-3" in faulty.requests[0].target


@pytest.mark.parametrize("reason", ["foreign", "ahead"])
async def test_after_a_reset_to_another_history_its_documents_are_shown(reason: str) -> None:
    reset = frame("reset", {"reason": reason, "requested": "aaaaaaaa-5"})
    async with Faulty(
        stream(RETRY, at(5, "snapshot")), stream(RETRY, reset, at(2, "snapshot")), stream(at(3), END)
    ) as faulty:
        assert await watched(faulty, since="aaaaaaaa-4") == [5, 2, 3]
        assert cursors(faulty) == [None, "aaaaaaaa-5", "aaaaaaaa-2"]
        assert "after=" not in faulty.requests[2].target


async def test_a_reset_in_the_middle_forgets_the_cursor() -> None:
    reset = frame("reset", {"reason": "expired"})
    many = frame("snapshot", job(offset=7, version=7))
    async with Faulty(stream(RETRY, at(5, "snapshot"), reset, many), stream(END)) as faulty:
        assert await watched(faulty) == [5, 7]
        assert cursors(faulty) == [None, None]


async def test_a_busy_gateway_is_asked_again_when_it_says() -> None:
    busy = frame("busy", {"retry": 400})
    async with Faulty(stream(busy), stream(RETRY, at(1, "snapshot"), END)) as faulty:
        began = asyncio.get_running_loop().time()
        assert await watched(faulty) == [1]
        assert asyncio.get_running_loop().time() - began >= 0.4


async def test_503_is_a_pause_and_404_an_end() -> None:
    missing = reply(404, {"type": "urn:status-gateway:problem:job-not-found", "title": "Job not found"})
    async with Faulty(reply(503, Retry_After="0"), stream(RETRY, at(1, "snapshot")), missing) as faulty:
        async with asyncio.timeout(60), Client(faulty.url) as client:
            documents = client.watch("j")
            assert (await anext(documents))["version"] == 1
            with pytest.raises(ProblemError) as caught:
                await anext(documents)
        assert caught.value.code == "job-not-found"


async def test_a_silent_connection_is_left_for_a_new_one() -> None:
    first, second = stream(RETRY, at(1, "snapshot"), silent=True), stream(RETRY, at(2), END)
    async with asyncio.timeout(60), Faulty(first, second) as faulty, Transport(faulty.url) as transport:
        watch = Watch(transport, "/v1/jobs/j/events", (), silence=2)
        assert [event.document["version"] async for event in watch.events()] == [1, 2]


async def test_a_deleted_job_ends_the_watch_and_is_told_as_an_event() -> None:
    gone = frame("deleted", {"id": "j", "workspace": "default", "position": "aaaaaaaa-2"}, id="aaaaaaaa-2")
    last = frame("end", {"reason": "deleted"})
    async with Faulty(stream(RETRY, at(1, "snapshot"), gone, last)) as faulty:
        assert await watched(faulty) == [1]
        async with Client(faulty.url) as client:
            assert [event.kind async for event in client.events("j")] == ["snapshot", "deleted"]


async def test_a_key_that_has_lost_its_right_is_an_error_not_an_end() -> None:
    async with Faulty(stream(at(1, "snapshot"), frame("end", {"reason": "unauthorized"}))) as faulty:
        with pytest.raises(ProblemError, match="401"):
            await watched(faulty)


async def test_who_never_answers_as_a_gateway_is_given_up() -> None:
    page = reply(200, b"<html>", Content_Type="text/html")
    async with Faulty(page) as faulty, Client(faulty.url, retry_for=0.2) as client:
        with pytest.raises(Unreachable):
            _ = [document async for document in client.watch("j")]


async def test_patience_bounds_how_long_a_lost_gateway_is_waited_for() -> None:
    async with Faulty(stream(RETRY, at(1, "snapshot")), cut) as faulty:
        with pytest.raises(Unreachable):
            await watched(faulty, patience=2)
        assert len(faulty.requests) >= 2


async def test_garbage_in_a_stream_is_a_broken_connection() -> None:
    async with Faulty(stream(RETRY, at(1, "snapshot"), "data: {\nevent: progress\n\n"), stream(END)) as faulty:
        assert await watched(faulty) == [1]


async def test_parameters_say_what_is_wanted() -> None:
    async with Faulty(stream(END)) as faulty, Client(faulty.url, workspace="geo") as client:
        wanted = client.watch_many(
            jobs=["a", "geo/b"], state="running", process=("x",), label={"k": "v"}, since="earliest", min_interval=0
        )
        assert [document async for document in wanted] == []
        query = "workspace=geo&job=a&job=geo%2Fb&state=running&process=x&label=k%3Av&min_interval=0&after=earliest"
        assert faulty.requests[0].target == f"/v1/events?{query}"


async def test_a_watch_that_is_left_early_lets_its_connection_go(tmp_path: Path) -> None:
    async with served(tmp_path) as server, Client(f"http://127.0.0.1:{server.port}") as client:
        await client.create(id="a", state="running")
        async with aclosing(client.watch("a")) as documents:
            assert (await anext(documents))["id"] == "a"
        assert (await client.report("a", state="succeeded"))["terminal"]


async def test_many_jobs_are_followed_to_their_ends(tmp_path: Path) -> None:
    async with served(tmp_path) as server, Client(f"http://127.0.0.1:{server.port}") as client:
        await client.create(id="a", state="running")
        seen: list[tuple[str, str]] = []
        async for document in client.watch_many(jobs=["a", "b"]):
            seen.append((document["id"], document["state"]))
            if seen == [("a", "running")]:
                await client.create(id="b", state="running")
            elif seen[-1] == ("b", "running"):
                await client.reports("a", [{"progress": 50}, {"state": "succeeded"}])
                await client.report("b", state="failed")
        assert seen[0] == ("a", "running")
        assert [pair for pair in seen if pair[0] == "b"] == [("b", "running"), ("b", "failed")]
        assert seen[-2:] == [("a", "succeeded"), ("b", "failed")]


async def follow(client: Client, documents: list[Document], reached: dict[str, asyncio.Event]) -> None:
    async for document in client.watch("a", min_interval=0):
        documents.append(document)
        if (event := reached.get(str(document["message"]))) is not None:
            event.set()


async def kill_and_report(server: Server, client: Client, message: str) -> None:
    await asyncio.to_thread(server.restart)
    await client.report("a", message=message)


async def test_a_watch_misses_nothing_while_the_server_is_killed_and_restarted(tmp_path: Path) -> None:
    with serving(tmp_path / "status.db") as server:
        documents: list[Document] = []
        reached = {word: asyncio.Event() for word in ("before", "after")}
        async with asyncio.timeout(200), Client(server.url) as client:
            await client.create(id="a", state="running")
            following = asyncio.create_task(follow(client, documents, reached))
            await client.report("a", message="before")
            await reached["before"].wait()
            await kill_and_report(server, client, "while it was away")
            await client.report("a", message="after")
            await client.report("a", state="succeeded")
            await following
        assert [document["version"] for document in documents][-3:] == [3, 4, 5]
        versions = [document["version"] for document in documents]
        assert versions == sorted(set(versions))
        assert documents[-1]["state"] == "succeeded"


def test_an_event_is_a_value() -> None:
    document: Any = job()
    assert Event("progress", document) == Event("progress", document)
