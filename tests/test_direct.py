"""The short ways in: the table of addresses finds what the routers find, and a quick answer is the endpoint's own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.routing import Match, Mount, Route
from starlette.testclient import TestClient

from gateway.app import create_app
from gateway.dialects.base import Resource
from gateway.dialects.direct import Direct
from gateway.dialects.quick import QuickRead
from gateway.settings import Settings


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A gateway with two jobs."""
    settings = Settings(database=str(tmp_path / "status.db"), allowed_hosts=("testserver",))
    with TestClient(create_app(settings)) as client:
        client.post("/v1/jobs", json={"id": "a", "state": "running"})
        client.post("/v1/jobs", json={"id": "b", "workspace": "w"})
        client.post("/v1/jobs/a/events", json={"state": "succeeded", "message": "done"})
        yield client


def by_routers(routes: list[Any], path: str) -> tuple[object, dict[str, str], str] | None:
    """The resource at a path as the routers find it, its parameters and its prefix."""
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": []}
    for mount in routes:
        match, more = mount.matches(scope)
        if match is Match.FULL and isinstance(mount, Mount):
            below = {**scope, **more}
            for route in mount.routes:
                match, last = route.matches(below)
                if match is Match.FULL:
                    is_resource = isinstance(route, Route) and isinstance(route.endpoint, Resource)
                    return (last["endpoint"], last["path_params"], below["root_path"]) if is_resource else None
            return None
    return None


def test_the_table_finds_what_the_routers_find_and_nothing_else(tmp_path: Path) -> None:
    app = create_app(Settings(database=str(tmp_path / "status.db")))
    direct = Direct(app, app.routes)
    paths = {""}
    for mount in app.routes:
        if isinstance(mount, Mount):
            for route in mount.routes:
                parts = [part for part in getattr(route, "path", "").split("/") if part]
                values = [("x", "a b", "jobs", "events", "") if part.startswith("{") else (part,) for part in parts]
                for filled in product(*values):
                    path = mount.path + "".join(f"/{part}" for part in filled)
                    paths |= {path, f"{path}/", f"{path}/events", path.upper()}
    found = 0
    for path in sorted(paths):
        place = direct.find(path)
        expected = by_routers(list(app.routes), path)
        if place is not None:
            found += 1
            where, value = place
            assert (where.resource, {where.parameter: value} if value else {}, where.prefix) == expected, path
    assert found > 50
    hot = "/v1/jobs", "/v1/jobs/a", "/v1/jobs/a/events", "/v1/events"
    assert all(direct.find(path) for path in hot)
    assert direct.find("/v1/jobs/") is None


REQUESTS: list[tuple[str, dict[str, str]]] = [
    (f"/v1/jobs/{address}", headers)
    for address in ("a", "b?workspace=w", "none", "a?workspace=W", "a?omit=steps", "a?workspace=default")
    for headers in (
        {},
        {"accept": "application/json"},
        {"accept": "application/json, */*;q=0.5"},
        {"accept": "image/png"},
        {"if-none-match": "ETAG"},
        {"if-none-match": 'W/ETAG, "other"'},
        {"if-none-match": '"other"'},
        {"if-none-match": "ETAG", "prefer": "wait=0"},
        {"last-event-id": "x"},
    )
]


def test_a_quick_answer_is_the_very_one_that_the_endpoint_gives(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []
    quick = QuickRead.__call__

    def watched(self: QuickRead, scope: Any) -> Any:
        answer = quick(self, scope)
        taken.extend([True] if answer is not None else [])
        return answer

    def answers() -> list[tuple[int, bytes, list[tuple[str, str]]]]:
        got = []
        for path, headers in REQUESTS:
            tag = client.get(path).headers.get("etag", '"x"')
            answer = client.get(path, headers={name: value.replace("ETAG", tag) for name, value in headers.items()})
            got.append((answer.status_code, answer.content, sorted(answer.headers.items())))
        return got

    with monkeypatch.context() as patch:
        patch.setattr(QuickRead, "__call__", watched)
        quickly = answers()
    with monkeypatch.context() as patch:
        patch.setattr(QuickRead, "__call__", lambda self, scope: None)
        slowly = answers()
    assert len(taken) > 20
    assert quickly == slowly
    assert {status for status, _, _ in quickly} >= {200, 304, 400, 404, 406}


@pytest.mark.parametrize("busy", [False, True], ids=["at once", "by the threads"])
def test_a_cold_job_is_answered_as_a_hot_one_is(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    log = cast(Starlette, client.app).state.gateway.log
    in_thread, asked = log._reading.standing, []

    async def watched(workspace: str, name: str) -> Any:
        asked.append(name)
        return await in_thread(workspace, name)

    monkeypatch.setattr(log._reading, "standing", watched)
    monkeypatch.setattr(log._glance, "_clock", lambda: 0.0)
    monkeypatch.setattr(log._glance, "_owed_until", 60.0 if busy else 0.0)
    for path in ("/v1/jobs/a", "/v1/jobs/b?workspace=w"):
        hot = client.get(path)
        asked.clear()
        log._hot.clear()
        cold = client.get(path)
        assert (cold.status_code, cold.content, cold.headers) == (200, hot.content, hot.headers)
        log._hot.clear()
        same = client.get(path, headers={"if-none-match": hot.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        assert len(asked) == (2 if busy else 0)
    client.delete("/v1/jobs/a")
    log._hot.clear()
    assert client.get("/v1/jobs/a").status_code == 410


def test_a_job_that_moves_on_is_answered_anew(client: TestClient) -> None:
    first = client.get("/v1/jobs/b?workspace=w")
    client.post("/v1/jobs/b/events?workspace=w", json={"progress": 5})
    second = client.get("/v1/jobs/b?workspace=w", headers={"if-none-match": first.headers["etag"]})
    assert second.status_code == 200
    assert second.json()["progress"] == 5.0
    assert second.headers["etag"] != first.headers["etag"]


def test_heads_are_kept_within_a_bound(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dialects.quick.MAX_ANSWERS", 2)
    for number in range(5):
        client.post("/v1/jobs", json={"id": f"j{number}"})
        assert client.get(f"/v1/jobs/j{number}").json()["id"] == f"j{number}"
