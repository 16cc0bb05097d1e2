"""Reports on their way: order, keys and conflation, and that two merged into one do what the two do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.client.base import Document, ProblemError
from gateway.client.outbox import PILE, Outbox, Report, describe, merged
from gateway.client.transport import Transport
from gateway.job import apply, create
from gateway.report import Identity, State, parse_report
from tests.faulty import Faulty, cut, document, hang, held, reply

NOW = "2026-02-19T10:00:00.000Z"
BOUND = 60.0  # seconds

scalars = st.none() | st.integers(0, 3) | st.sampled_from(["x", "y"])
names = st.sampled_from(["a", "b"])
objects = st.recursive(scalars, lambda inner: st.dictionaries(names, inner, max_size=2), max_leaves=5)
patches = st.dictionaries(names, objects, max_size=2)
states = st.sampled_from(["running", "failed"])
tasks = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"state": states, "details": patches}),
    max_size=2,
    unique_by=lambda task: str(task["name"]),
)
steps = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"state": states, "details": patches, "tasks": tasks}),
    max_size=2,
    unique_by=lambda step: str(step["name"]),
)
labels = st.dictionaries(names, st.none() | st.sampled_from(["x", "y"]), max_size=2)
reports = st.fixed_dictionaries(
    {},
    optional={
        "progress": st.none() | st.integers(0, 100),
        "message": st.none() | st.sampled_from(["m", "n"]),
        "error": st.none() | st.sampled_from(["e", "f"]),
        "details": patches,
        "labels": labels,
        "steps": steps,
    },
)


@settings(max_examples=400, deadline=None)
@given(before=reports, earlier=reports, later=reports)
def test_two_reports_merged_do_what_they_do_one_after_the_other(before: Report, earlier: Report, later: Report) -> None:
    job = create(Identity(id="j"), parse_report({**before, "state": "running"}), NOW, "default")
    both = merged(earlier, later)
    if both is not None:
        apart = apply(apply(job, parse_report(earlier), NOW), parse_report(later), NOW)
        together = apply(job, parse_report(both), NOW)
        assert together._replace(version=0) == apart._replace(version=0)
        assert together.state is State.RUNNING


@pytest.mark.parametrize(
    "earlier,later",
    [
        ({"state": "running"}, {"progress": 1}),
        ({"progress": 1}, {"state": "running"}),
        ({"details": {}, "replace": ["details"]}, {"details": {"a": 1}}),
        ({"details": {"a": None}}, {"details": {"a": {"b": 1}}}),
        ({"progress": "45"}, {"progress": 1}),
        ({"steps": "extract"}, {"steps": []}),
        ({"steps": [{"name": "a"}]}, {"steps": [{}]}),
        ({"steps": [{"name": "a", "tasks": 1}]}, {"steps": [{"name": "a", "tasks": []}]}),
    ],
)
def test_what_would_change_its_meaning_is_not_merged(earlier: Report, later: Report) -> None:
    assert merged(earlier, later) is None


class Box:
    """An outbox over a transport, with what it was told."""

    def __init__(self, transport: Transport) -> None:
        self.heard: list[Document] = []
        self.problems: list[ProblemError] = []
        self.outbox = Outbox(
            transport, "j", heard=self.heard.append, refused=lambda error, _: self.problems.append(error)
        )


@asynccontextmanager
async def box(faulty: Faulty, lease: float | None = None, workspace: str | None = None) -> AsyncIterator[Box]:
    async with asyncio.timeout(BOUND), Transport(faulty.url, workspace=workspace, timeout=BOUND) as transport:
        made = Box(transport)
        delivery = asyncio.create_task(made.outbox.deliver(lease))
        yield made
        delivery.cancel()
        await asyncio.gather(delivery, return_exceptions=True)


def bodies(faulty: Faulty) -> list[dict[str, Any]]:
    return [{name: value for name, value in request.json.items() if name != "time"} for request in faulty.requests]


async def test_reports_arrive_in_order_with_one_key_each_and_their_own_time() -> None:
    async with Faulty(cut, reply(503), document()) as faulty, box(faulty, workspace="geo") as sender:
        sender.outbox.create({"id": "j"})
        sender.outbox.put({"state": "running", "time": "2026-01-01T00:00:00Z"})
        sender.outbox.put({"progress": 1})
        assert await sender.outbox.drained(BOUND)
        assert bodies(faulty) == [{"id": "j"}] * 3 + [{"state": "running"}, {"progress": 1}]
        assert [request.target for request in faulty.requests][2:] == [
            "/v1/jobs",
            "/v1/jobs/j/events?workspace=geo",
            "/v1/jobs/j/events?workspace=geo",
        ]
        keys = [request.headers["idempotency-key"] for request in faulty.requests]
        assert len(set(keys[:3])) == 1
        assert len(set(keys)) == 3
        assert faulty.requests[3].json["time"] == "2026-01-01T00:00:00Z"
        assert faulty.requests[4].json["time"] > "2026-01-01"


async def test_a_pile_keeps_every_transition_and_the_newest_progress() -> None:
    over = asyncio.Event()
    async with Faulty(held(over), document()) as faulty, box(faulty) as sender:
        for percent in range(1000):
            sender.outbox.put({"progress": percent / 10})
        sender.outbox.put({"state": "paused"})
        for percent in range(1000):
            sender.outbox.put({"message": f"m{percent}"})
        assert len(sender.outbox.undelivered) == PILE + 2
        assert describe(sender.outbox.undelivered) == f"{PILE} × progress, paused, progress"
        over.set()
        assert await sender.outbox.drained(BOUND)
        assert bodies(faulty)[-3:] == [{"progress": 99.9}, {"state": "paused"}, {"message": "m999"}]


async def test_a_report_that_was_sent_once_is_never_changed() -> None:
    over = asyncio.Event()
    async with Faulty(held(over), document()) as faulty, box(faulty) as sender:
        said = {"details": {"n": 1}}
        sender.outbox.put(said)
        await faulty.came(1)
        said["details"]["n"] = 2
        for percent in range(PILE * 2):
            sender.outbox.put({"progress": percent})
        over.set()
        assert await sender.outbox.drained(BOUND)
        assert bodies(faulty)[:2] == [{"details": {"n": 1}}] * 2


async def test_a_refusal_does_not_hold_up_what_follows() -> None:
    async with Faulty(reply(409, {"detail": "no"}), document(version=7)) as faulty, box(faulty) as sender:
        sender.outbox.put({"state": "created"})
        sender.outbox.put({"progress": 1})
        assert await sender.outbox.drained(BOUND)
        assert [problem.status for problem in sender.problems] == [409]
        assert [heard["version"] for heard in sender.heard] == [7]


async def test_trouble_is_known_at_once_and_over_with_the_next_answer() -> None:
    async with Faulty(cut, document()) as faulty, box(faulty) as sender:
        sender.outbox.put({"progress": 1})
        await sender.outbox.settled(BOUND)
        assert sender.outbox.trouble is not None
        assert await sender.outbox.drained(BOUND)
        assert sender.outbox.trouble is None


async def test_what_is_not_delivered_in_time_is_told() -> None:
    async with Faulty(hang) as faulty, box(faulty) as sender:
        sender.outbox.create({"id": "j"})
        sender.outbox.put({"state": "running"})
        assert not await sender.outbox.drained(0.05)
        assert describe(sender.outbox.undelivered) == "creation, running"


async def test_something_that_is_no_gateway_gets_the_report_again_later() -> None:
    async with Faulty(reply(200, b"<html>")) as faulty, box(faulty) as sender:
        sender.outbox.put({"progress": 1})
        await sender.outbox.settled(BOUND)
        assert "not as a status gateway" in str(sender.outbox.trouble)
        assert len(sender.outbox.undelivered) == 1


async def test_a_silent_job_with_a_lease_is_heard_of_three_times_within_it() -> None:
    async with Faulty(document()) as faulty, box(faulty, lease=0.3) as sender:
        began = asyncio.get_running_loop().time()
        await faulty.came(3)
        assert asyncio.get_running_loop().time() - began >= 0.3
        assert not any(bodies(faulty)), "they say nothing but that it lives"
        assert sender.outbox.undelivered == []


async def test_what_json_cannot_carry_is_refused_where_it_is_said() -> None:
    async with Faulty(document()) as faulty, box(faulty) as sender:
        with pytest.raises(TypeError, match="a report must be JSON"):
            sender.outbox.put({"message": "\ud800"})
        with pytest.raises(TypeError, match="a report must be JSON"):
            sender.outbox.put({"result": object()})
        assert sender.outbox.undelivered == []
