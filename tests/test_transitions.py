"""The state table, both ways: every pair of states, and every wish in every state."""

from __future__ import annotations

import copy
from itertools import product

import pytest

from gateway.errors import GatewayError, IllegalTransition, JobFinished
from gateway.job import AT_REST, TERMINAL, TRANSITIONS, Job, wish
from gateway.record import as_json
from gateway.report import State
from tests.jobs import at, new, say

DESIGN = """
created    pending, running, pausing, paused, retrying, cancelling, cancelled, failed, succeeded, unknown
pending    running, pausing, paused, retrying, cancelling, cancelled, failed, succeeded, unknown
running    pausing, paused, retrying, cancelling, cancelled, failed, succeeded, unknown
pausing    paused, resuming, cancelling, cancelled, failed, succeeded, unknown
paused     resuming, running, pending, retrying, cancelling, cancelled, failed, succeeded, unknown
resuming   pending, running, paused, pausing, retrying, cancelling, cancelled, failed, succeeded, unknown
retrying   pending, running, pausing, paused, cancelling, cancelled, failed, succeeded, unknown
cancelling cancelled, failed, succeeded, unknown
unknown    pending, running, pausing, paused, resuming, retrying, cancelling, cancelled, failed, succeeded
succeeded
failed
cancelled
"""
ROWS = [line.partition(" ") for line in DESIGN.strip().splitlines()]
TABLE = {State(state): frozenset(State(word) for word in after.replace(",", " ").split()) for state, _, after in ROWS}
ENDS = {State.SUCCEEDED, State.FAILED, State.CANCELLED}
HELD = {State.CANCELLING, State.PAUSING}
WISHED = {"cancel": State.CANCELLING, "pause": State.PAUSING, "resume": State.RESUMING}
PAIRS = list(product(State, State))


def in_state(state: State) -> Job:
    """A job in that state, which has been at work, with something of everything."""
    job = new(state="running", progress=50, error="e", details={"a": [1]}, labels={"l": "v"}, steps=[{"name": "s"}])
    return job._replace(state=state, previous=State.RUNNING, version=7, position="k7f3q2ab-7")


def refused(error: GatewayError, job: Job, wanted: State) -> None:
    """The refusal names the state, the wish, and what is allowed."""
    assert error.status == 409
    allowed = [str(state) for state in State if state in TABLE[job.state]]
    assert {**error.members, "allowed": sorted(error.members["allowed"])} == {  # type: ignore[call-overload]
        "state": job.state,
        "wish": wanted,
        "allowed": sorted(allowed),
    }
    assert job.state in error.detail


def test_the_table_is_the_designs() -> None:
    assert {state: frozenset(after) for state, after in TRANSITIONS.items()} == TABLE
    assert all(len(set(after)) == len(after) for after in TRANSITIONS.values())
    assert set(TABLE) == set(State)
    assert set(TERMINAL) == ENDS
    assert set(AT_REST) == ENDS | {State.CREATED, State.PENDING, State.PAUSED}


@pytest.mark.parametrize("state,wanted", [pair for pair in PAIRS if pair[1] in TABLE[pair[0]]])
def test_a_transition_of_the_table_is_made(state: State, wanted: State) -> None:
    before = in_state(state)
    after = say(before, state=wanted)
    assert (after.state, after.previous, after.version) == (wanted, state, 8)
    assert after.terminal == (wanted in ENDS)
    assert (after.finished is not None) == after.terminal


@pytest.mark.parametrize(
    "state,wanted",
    [(s, w) for s, w in PAIRS if w not in TABLE[s] and w is not s and not (s in HELD and w is State.RUNNING)],
)
def test_another_transition_is_refused_and_leaves_the_job_as_it_was(state: State, wanted: State) -> None:
    job = in_state(state)
    before = copy.deepcopy(as_json(job))
    with pytest.raises(JobFinished if state in ENDS else IllegalTransition) as caught:
        say(job, state=wanted, progress=60, message="new", details={"a": None}, labels={"l": None})
    refused(caught.value, job, wanted)
    assert as_json(job) == before


@pytest.mark.parametrize("state", State)
def test_the_state_as_it_is_changes_nothing(state: State) -> None:
    job = in_state(state)
    job = job._replace(progress=100.0, error=None) if state is State.SUCCEEDED else job
    assert say(job, state=state) is job


@pytest.mark.parametrize("state", State)
def test_a_job_may_be_known_first_in_any_state(state: State) -> None:
    job = new(3, state=state)
    assert (job.state, job.previous, job.version, job.attempt) == (state, None, 1, 1)
    assert job.started == (at(3) if state is State.RUNNING else None)
    assert job.finished == (at(3) if state in ENDS else None)


# Wishes that outlive what the producer observes


@pytest.mark.parametrize("state", sorted(HELD))
def test_running_undoes_no_wish_and_the_rest_of_the_report_applies(state: State) -> None:
    job = in_state(state)
    after = say(job, state="running", progress=60, message="on it")
    assert (after.state, after.previous) == (state, State.RUNNING)
    assert (after.progress, after.message, after.version) == (60.0, "on it", 8)
    assert say(job, state="running") is job


@pytest.mark.parametrize("state", sorted(HELD))
def test_running_under_a_wish_says_when_the_work_began(state: State) -> None:
    job = new(state=state)
    after = say(job, 5, state="running")
    assert (after.state, after.started, after.version) == (state, at(5), 2)


@pytest.mark.parametrize("state", sorted(HELD))
def test_running_returns_to_the_wish_out_of_which_the_job_became_unknown(state: State) -> None:
    lost = say(in_state(state), 1, state="unknown")
    lost = say(lost, 2, message="still out of reach")
    back = say(lost, 3, state="running", progress=70)
    assert (back.state, back.previous, back.progress, back.version) == (state, State.UNKNOWN, 70.0, 10)
    assert say(back, 4, state="running") is back


@pytest.mark.parametrize("state", [state for state in State if state not in ENDS | HELD | {State.UNKNOWN}])
def test_running_after_an_unknown_without_a_standing_wish_is_running(state: State) -> None:
    assert say(say(in_state(state), state="unknown"), state="running").state is State.RUNNING


@pytest.mark.parametrize("held,wanted", list(product(sorted(HELD), sorted(TABLE[State.UNKNOWN] - {State.RUNNING}))))
def test_after_an_unknown_out_of_a_wish_any_other_state_is_taken_as_it_is_said(held: State, wanted: State) -> None:
    after = say(say(in_state(held), state="unknown"), state=wanted)
    assert (after.state, after.previous) == (wanted, State.UNKNOWN)


def test_a_wish_ends_with_what_the_producer_observes_of_it() -> None:
    paused = say(in_state(State.PAUSING), state="paused")
    assert paused.state is State.PAUSED
    assert say(paused, state="running").state is State.RUNNING
    assert say(say(in_state(State.PAUSING), state="resuming"), state="running").state is State.RUNNING
    assert say(in_state(State.RESUMING), state="running").state is State.RUNNING
    assert say(in_state(State.CANCELLING), state="succeeded").state is State.SUCCEEDED
    resumed = say(say(in_state(State.PAUSING), state="resuming"), state="unknown")
    assert say(resumed, state="running").state is State.RUNNING


# Wishes


@pytest.mark.parametrize("state,kind", list(product(State, WISHED)))
def test_a_wish_is_granted_as_the_table_says(state: State, kind: str) -> None:
    job = in_state(state)
    before = copy.deepcopy(as_json(job))
    wanted = WISHED[kind]
    if state is wanted:
        assert wish(job, kind, at(9)) is job
    elif wanted in TABLE[state]:
        after = wish(job, kind, at(9))
        assert after == job._replace(state=wanted, previous=state, updated=at(9), reported=None, version=8)
    else:
        with pytest.raises(JobFinished if state in ENDS else IllegalTransition) as caught:
            wish(job, kind, at(9))
        refused(caught.value, job, wanted)
    assert as_json(job) == before


@pytest.mark.parametrize("state", [State.CREATED, State.PENDING])
def test_a_job_that_has_not_begun_is_cancelled_at_once(state: State) -> None:
    job = new(state=state, lease=1, progress=3)
    after = wish(job, "cancel", at(9))
    assert after == job._replace(
        state=State.CANCELLED, previous=state, finished=at(9), updated=at(9), version=2, reported=None
    )
    with pytest.raises(JobFinished):
        say(after, 10, state="running")
    with pytest.raises(JobFinished):
        wish(after, "cancel", at(10))


@pytest.mark.parametrize("state", [State.CREATED, State.PENDING])
@pytest.mark.parametrize("kind", ["pause", "resume"])
def test_only_cancelling_is_done_at_once(state: State, kind: str) -> None:
    job = new(state=state)
    if kind == "pause":
        assert wish(job, kind, at(1)).state is State.PAUSING
    else:
        with pytest.raises(IllegalTransition):
            wish(job, kind, at(1))


def test_a_job_that_waits_again_after_it_had_begun_is_not_cancelled_at_once() -> None:
    job = say(say(new(state="running"), 1, state="paused"), 2, state="pending")
    assert wish(job, "cancel", at(3)).state is State.CANCELLING


@pytest.mark.parametrize("state", [state for state in State if state not in ENDS | {State.CREATED, State.PENDING}])
def test_a_job_seen_at_work_is_not_cancelled_at_once_even_if_it_never_said_running(state: State) -> None:
    assert wish(new(state=state), "cancel", at(1)).state is State.CANCELLING
