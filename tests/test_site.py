"""What stands in static/ reaches any page, with the right type on any machine; what jobs say reaches allowed ones."""

from __future__ import annotations

import mimetypes
import re
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.app import create_app
from gateway.settings import Settings
from gateway.site import MEDIA_TYPES, PAGE_HEADERS, static_folder
from tests.api import api, client_of, create, served
from tests.driven import ROOT

FRIEND, STRANGER = "https://friend.example", "https://stranger.example"
FILES = sorted(path.relative_to(static_folder()).as_posix() for path in static_folder().rglob("*") if path.is_file())
HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}  # as a browser asks for a page


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path, allowed_origins=(FRIEND,)) as found:
        yield found


# ---- static files ----


@pytest.mark.parametrize("name", FILES)
async def test_every_file_has_a_known_type_and_may_be_loaded_by_any_page(client: httpx.AsyncClient, name: str) -> None:
    response = await client.get(f"/static/{name}", headers={"Origin": STRANGER})
    assert response.status_code == 200
    assert response.headers["content-type"].partition(";")[0] == MEDIA_TYPES[Path(name).suffix]
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert response.headers["x-content-type-options"] == "nosniff"
    again = await client.get(f"/static/{name}", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["access-control-allow-origin"] == "*"


async def test_types_do_not_hang_on_what_the_machine_says(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_: ("text/plain", None))
    mimetypes.add_type("text/plain", ".js")
    try:
        for name, expected in (("dashboard.js", "text/javascript"), ("style.css", "text/css")):
            response = await client.get(f"/static/{name}")
            assert response.headers["content-type"] == f"{expected}; charset=utf-8"
    finally:
        mimetypes.init()


async def test_a_type_that_nobody_knows_is_only_saved_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "thing.exe").write_bytes(b"MZ")
    monkeypatch.setattr("gateway.app.static_folder", lambda: folder)
    app = create_app(Settings(database=str(tmp_path / "status.db")))
    async with app.router.lifespan_context(app), client_of(app) as client:
        response = await client.get("/static/thing.exe")
    assert response.headers["content-type"] == "application/octet-stream"


async def test_a_friend_is_told_by_name_and_the_page_itself_is_nobodys_but_ours(client: httpx.AsyncClient) -> None:
    friendly = await client.get("/static/dashboard.js", headers={"Origin": FRIEND})
    assert friendly.headers["access-control-allow-origin"] == FRIEND
    assert "Origin" in friendly.headers["vary"]
    page = await client.get("/", headers={"Origin": STRANGER})
    assert "access-control-allow-origin" not in page.headers


@pytest.mark.soak  # it asks the package index for what builds a wheel
def test_the_modules_of_a_wheel_are_all_there_in_their_folders(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, timeout=110)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("gateway/static/")}
    assert packed == {f"gateway/static/{name}" for name in FILES}


# ---- the page's policy ----


async def test_the_policy_lets_no_inline_code_run_and_no_text_become_markup(client: httpx.AsyncClient) -> None:
    policy = dict(part.partition(" ")[::2] for part in PAGE_HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert (policy["require-trusted-types-for"], policy["trusted-types"]) == ("'script'", "'none'")
    for path in ("/", "/static/index.html"):
        assert (await client.get(path)).headers["content-security-policy"] == PAGE_HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".js", ".html", ".css"))])
def test_nothing_of_it_has_inline_code_or_loads_from_elsewhere(name: str) -> None:
    text = (static_folder() / name).read_text(encoding="utf-8")
    code = re.sub(r"/\*.*?\*/|^\s*//.*$", "", text, flags=re.DOTALL | re.MULTILINE)
    if name.endswith(".html"):
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son[a-z]+=|\sstyle=|<style", text)
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function)\b", text)
    assert not re.search(r"""(?:from|import)[(\s]*["'](?:https?:)?//|<[a-z]+ [^>]*(?:src|href)="(?:https?:)?//""", code)


# ---- what other pages may read ----


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/a", "/v1/jobs/a/events", "/v1/jobs/a/badge.svg", "/readyz"])
async def test_the_preflight_of_a_friend_passes_for_all_that_readers_send(client: httpx.AsyncClient, path: str) -> None:
    asked = "accept, authorization, cache-control, if-none-match, last-event-id, prefer"
    headers = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": asked}
    response = await client.options(path, headers={**headers, "Origin": FRIEND})
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == FRIEND
    assert "Origin" in response.headers["vary"]
    allowed = response.headers["access-control-allow-headers"].lower().split(", ")
    assert set(asked.split(", ")) <= set(allowed)
    strange = await client.options(path, headers={**headers, "Origin": STRANGER})
    assert "access-control-allow-origin" not in strange.headers


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson", "text/plain"])
async def test_a_stream_is_open_to_friends_only_and_caches_are_told(tmp_path: Path, accept: str) -> None:
    async with served(tmp_path, allowed_origins=(FRIEND,)) as at:
        await create(at.client)
        for origin, expected in ((FRIEND, FRIEND), (STRANGER, None), ("null", None)):
            headers = {"Accept": accept, "Origin": origin, "Last-Event-ID": ""}
            async with at.client.stream("GET", "/v1/jobs/a/events", headers=headers) as response:
                assert response.headers.get("access-control-allow-origin") == expected
                assert response.headers["vary"] == "Accept, Origin"


# ---- a job's address in a browser ----


@pytest.mark.parametrize(
    "path, page",
    [
        ("/v1/jobs/a", "/?job=default/a"),
        ("/v1/jobs/a?workspace=geo", "/?job=geo/a"),
        ("/v1/jobs/a:b~c.d?workspace=default", "/?job=default/a%3Ab~c.d"),
        ("/v1/jobs/nobody", "/?job=default/nobody"),
    ],
)
async def test_a_browser_that_opens_a_job_is_led_to_its_page(client: httpx.AsyncClient, path: str, page: str) -> None:
    await create(client, "a")
    response = await client.get(path, headers=HTML)
    assert response.status_code == 303
    assert response.content == b""
    assert "Accept" in response.headers["vary"].split(", ")
    assert response.url.join(response.headers["location"]) == response.url.join(page)
    assert (await client.get(path, headers=HTML, follow_redirects=True)).headers["content-type"].startswith("text/html")


async def test_a_job_that_can_not_be_has_no_page(client: httpx.AsyncClient) -> None:
    for path in ("/v1/jobs/%3Cscript%3E", "/v1/jobs/a?workspace=A", "/v1/jobs/a?stat=1"):
        response = await client.get(path, headers=HTML)
        assert response.status_code == 400
        assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("accept", ["text/html", "text/html, application/json;q=0.5", HTML["Accept"]])
async def test_whoever_prefers_a_page_is_led_to_it(client: httpx.AsyncClient, accept: str) -> None:
    assert (await client.get("/v1/jobs/a", headers={"Accept": accept})).status_code == 303


JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"  # what its HttpURLConnection says unless told otherwise


@pytest.mark.parametrize(
    "accept", [JAVA, "application/json", "*/*", "", "application/json, text/plain, */*", "application/json, text/html"]
)
async def test_who_does_not_prefer_a_page_gets_the_document(client: httpx.AsyncClient, accept: str) -> None:
    await create(client, "a")
    response = await client.get("/v1/jobs/a", headers={"Accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
