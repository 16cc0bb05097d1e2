"""A job's badge says its state, is fresh, small and harmless, and is there even for a job that is not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.badge import COLORS, LEFT, MAX_LABEL, MAX_SHOWN, WIDTHS, Badge, badge_of
from gateway.job import Job
from gateway.report import State
from tests.api import api, create, problem, report
from tests.strategies import NEW_JOBS, TEXTS, relaxed

SPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with api(tmp_path) as found:
        yield found


def said(response: httpx.Response) -> str:
    """What the badge says to those who can't see it, which must be what it shows."""
    assert response.headers["content-type"] == "image/svg+xml"
    return spoken(response.content)


def spoken(svg: bytes) -> str:
    root = ElementTree.fromstring(svg)
    title = root.findtext(f"{SPACE}title")
    assert title is not None
    assert (root.get("role"), root.get("aria-label")) == ("img", title)
    assert [text.text for text in root.iter(f"{SPACE}text")] == title.split(": ", 1)
    return title


def contrast(one: str, other: str) -> float:
    """The ratio that WCAG asks to be 4.5 at least."""

    def luminance(color: str) -> float:
        parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, "tiles: pending"),
        ({"state": "running"}, "tiles: running"),
        ({"state": "running", "progress": 45.9}, "tiles: running 45%"),
        ({"state": "running", "progress": 99.99}, "tiles: running 99%"),
        ({"state": "paused", "progress": 5}, "tiles: paused 5%"),
        ({"state": "succeeded"}, "tiles: succeeded"),
        ({"state": "failed", "progress": 5}, "tiles: failed"),
    ],
)
async def test_it_says_name_state_and_progress(
    client: httpx.AsyncClient, change: dict[str, object], expected: str
) -> None:
    await create(client, "a", name="tiles")
    if change:
        await report(client, "a", **change)
    response = await client.get("/v1/jobs/a/badge.svg")
    assert response.status_code == 200
    assert said(response) == expected


@relaxed
@given(NEW_JOBS)
def test_a_stalled_job_says_so(job: Job) -> None:
    assert badge_of(job._replace(stalled=True), "a").message.endswith(", stalled")


async def test_it_is_asked_for_anew_each_time_and_sent_only_when_it_looks_different(client: httpx.AsyncClient) -> None:
    await create(client, "a", state="running", progress=45.0)
    first = await client.get("/v1/jobs/a/badge.svg")
    assert first.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": first.headers["etag"]}
    for member in ({}, {"progress": 45.3}, {"message": "which no badge shows"}):
        await report(client, "a", **member)
        again = await client.get("/v1/jobs/a/badge.svg", headers=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    await report(client, "a", progress=46)
    moved = await client.get("/v1/jobs/a/badge.svg", headers=known)
    assert (moved.status_code, said(moved)) == (200, "a: running 46%")
    head = await client.head("/v1/jobs/a/badge.svg")
    assert (head.content, head.headers["etag"]) == (b"", moved.headers["etag"])


async def test_its_label_may_be_chosen_and_its_workspace_said(client: httpx.AsyncClient) -> None:
    await create(client, "a", workspace="geo")
    for query, expected in (
        ("", "a: unknown"),
        ("?workspace=geo", "a: pending"),
        ("?workspace=geo&label=m", "m: pending"),
    ):
        assert said(await client.get(f"/v1/jobs/a/badge.svg{query}")) == expected
    long = await client.get("/v1/jobs/a/badge.svg", params={"workspace": "geo", "label": "x" * MAX_LABEL})
    assert said(long) == "x" * (MAX_SHOWN - 1) + "…: pending"
    problem(
        await client.get("/v1/jobs/a/badge.svg", params={"label": "x" * (MAX_LABEL + 1)}),
        400,
        "invalid-request",
        "label",
    )
    problem(await client.get("/v1/jobs/a/badge.svg?style=flat"), 400, "invalid-request", "style")
    problem(await client.get("/v1/jobs/a b/badge.svg"), 400, "invalid-request", "id")


async def test_a_job_that_is_not_there_has_a_grey_one_that_no_cache_takes_for_good(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/v1/jobs/a/badge.svg")
    assert (unknown.status_code, said(unknown)) == (404, "a: unknown")
    assert (await client.get("/v1/jobs/a/badge.svg", headers={"If-None-Match": "*"})).status_code == 404
    await create(client, "a")
    await report(client, "a", state="succeeded")
    assert (await client.delete("/v1/jobs/a")).status_code == 204
    deleted = await client.get("/v1/jobs/a/badge.svg?label=build")
    assert (deleted.status_code, said(deleted)) == (410, "build: deleted")


@pytest.mark.parametrize(
    "label", ["</text><script>alert(1)</script>", "\"'&<>", "\x1b[31mred\x00", "a\nb", "\u202eltr", "\ufffe\uffff", " "]
)
async def test_no_label_leaves_its_place(client: httpx.AsyncClient, label: str) -> None:
    await create(client, "a", name=label.replace("\0", "") + "x")
    for params in ({"label": label}, {}):
        response = await client.get("/v1/jobs/a/badge.svg", params=params)
        assert len(said(response).split(": ")) == 2
        tags = {element.tag.removeprefix(SPACE) for element in ElementTree.fromstring(response.content).iter()}
        assert tags == {"svg", "title", "clipPath", "rect", "g", "path", "text"}
        assert response.headers["content-security-policy"] == "default-src 'none'"
        assert response.headers["cross-origin-resource-policy"] == "cross-origin"


@relaxed
@given(NEW_JOBS, TEXTS | st.none())
def test_whatever_a_job_says_it_is_one_well_formed_picture(job: Job, label: str | None) -> None:
    root = ElementTree.fromstring(badge_of(job, label or job.name).svg())
    assert root.tag == f"{SPACE}svg"
    assert 40 <= float(root.get("width", "0")) <= 1200


@pytest.mark.parametrize("state", list(State))
def test_every_state_can_be_read_on_its_colour(state: State) -> None:
    assert contrast("#ffffff", COLORS[state]) >= 4.5
    assert contrast("#ffffff", LEFT) >= 4.5


def test_texts_have_the_room_that_they_need() -> None:
    assert len(WIDTHS) == ord("~") - ord(" ") + 1
    widths = [Badge(text, "m").svg() for text in ("iiii", "mmmm", "漢字漢字", "é")]
    lengths = [int(re.findall(rb'textLength="(\d+)"', svg)[0]) for svg in widths]
    assert lengths == [12, 43, 44, 8]
    assert re.findall(rb'textLength="(\d+)"', Badge("e\u0301", "m").svg())[0] == b"7"


def test_progress_is_a_line_of_its_length() -> None:
    svg = Badge("a", "running 50%", progress=50.0).svg().decode()
    left, right = (int(found) for found in re.findall(r"0h(\d+)v20", svg))
    assert f"M{left} 18h{right / 2:.1f}v2H{left}z" in svg
