"""How a record's body is folded: unfolding gives back the very bytes, and old changes are read for ever."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.eventlog.codec import CODEC, fold, patch, same, unfold
from gateway.record import as_json, document, dumps, from_json
from gateway.report import State
from gateway.values import Json
from tests.jobs import new, report, say
from tests.strategies import KEYS, LIVES, OBJECTS, VALUES, Happening, lived, relaxed

Object = Mapping[str, Json]


def refolded(documents: Sequence[Object]) -> bytes:
    """The last document after all of them have been folded onto the first, where that can be done."""
    bodies = [dumps(documents[0])]
    for before, after in pairwise(documents):
        change = fold(before, after)
        bodies = [dumps(after)] if change is None else [*bodies, change]
    return unfold(bodies)


@relaxed
@given(st.lists(OBJECTS, min_size=2, max_size=5))
@example([{"a": {"b": [1, {"c": 1}], "d": None}}, {"a": {"b": [1, {"c": 2}, 3], "d": {}}, "e": 0}])
def test_folding_gives_back_the_very_bytes_of_any_documents(documents: list[Object]) -> None:
    before = copy.deepcopy(documents)
    assert refolded(documents) == dumps(documents[-1])
    assert orjson.dumps(documents) == orjson.dumps(before)


@st.composite
def edited(draw: st.DrawFn, value: Json) -> Json:
    """The value after a few edits, wherever they may fall."""
    if draw(st.booleans()):
        return value
    if isinstance(value, dict):
        kept = {name: draw(edited(below)) for name, below in value.items() if draw(st.integers(0, 5))}
        return kept | draw(st.dictionaries(KEYS, VALUES, max_size=1))
    if isinstance(value, list):
        cut = value[draw(st.integers(0, 1)) : draw(st.integers(0, len(value) + 1))]
        return [draw(edited(below)) for below in cut] + draw(st.lists(VALUES, max_size=1))
    return draw(VALUES)


@relaxed
@given(st.data())
def test_folding_gives_back_the_very_bytes_of_a_document_that_was_edited(data: st.DataObject) -> None:
    documents = [data.draw(OBJECTS)]
    for _ in range(3):
        documents.append(data.draw(edited(documents[-1])))
    assert refolded(documents) == dumps(documents[-1])


@relaxed
@given(LIVES)
def test_folding_gives_back_the_very_bytes_of_a_jobs_documents(
    life: tuple[dict[str, Json], Sequence[Happening]],
) -> None:
    jobs = list(lived(life))
    assert refolded([as_json(job) for job in jobs]) == document(jobs[-1])


TWINS: list[tuple[Json, Json]] = [
    (1, 1.0),
    (1, True),
    (0, False),
    (1.0, True),
    (0.0, -0.0),
    (None, False),
    ([], {}),
    ("", None),
    ([1], [1.0]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}]),
    ({"a": [0.0]}, {"a": [-0.0]}),
    ("\u2028", "\\u2028"),
]


@pytest.mark.parametrize("one,other", [*TWINS, *((other, one) for one, other in TWINS)])
def test_what_python_takes_for_equal_is_told_apart_by_its_bytes(one: Json, other: Json) -> None:
    assert not same(one, other)
    for before, after in (({"x": one}, {"x": other}), ({"x": [one, 1]}, {"x": [other, 1]})):
        assert refolded([before, after]) == dumps(after)
        assert refolded([after, after, before]) == dumps(before)


@relaxed
@given(VALUES, VALUES)
def test_values_are_the_same_where_their_bytes_are(one: Json, other: Json) -> None:
    assert same(one, orjson.loads(orjson.dumps(one)))
    assert same(one, other) == (dumps(one) == dumps(other))


def test_a_job_read_again_is_the_same_though_its_values_are_of_other_types() -> None:
    job = new(state="running", steps=[{"name": "s", "state": "failed", "tasks": [{"name": "t"}]}])
    again = from_json(orjson.loads(document(job)))
    assert same(as_json(job), as_json(again))
    assert same((State.RUNNING, [1]), ["running", (1,)])
    assert fold(as_json(job), as_json(again)) == fold(as_json(again), as_json(job)) == b'{"-":[],"~":{},"=":{}}'


def test_an_order_that_a_change_could_not_keep_is_not_folded() -> None:
    assert fold({"a": 1, "b": 2}, {"b": 2, "a": 1}) is None
    assert fold({"a": 1, "b": 2}, {"c": 3, "a": 1, "b": 2}) is None
    assert fold({"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 3, "b": 2}) is None
    assert fold({"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 3, "d": 4}) is not None
    assert fold({"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1}}) == b'{"-":[],"~":{},"=":{"x":{"b":2,"a":1}}}'


def test_patching_leaves_the_value_that_it_is_given() -> None:
    before = {"a": {"b": [1, {"c": 1}]}, "gone": 1}
    after = {"a": {"b": [1, {"c": 2}, 3]}}
    change = orjson.loads(fold(before, after) or b"")
    kept = copy.deepcopy(before)
    assert patch(before, change) == after
    assert before == kept


# Changes that stand in logs already: what is written here is read by every later version


GOLDEN: list[tuple[Json, Json, bytes]] = [
    ({}, {}, b'{"-":[],"~":{},"=":{}}'),
    ({"a": 1}, {"a": 2}, b'{"-":[],"~":{},"=":{"a":2}}'),
    ({"a": 1, "b": 2}, {"b": 2, "c": None}, b'{"-":["a"],"~":{},"=":{"c":null}}'),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, b'{"-":[],"~":{"a":{"-":[],"~":{},"=":{"c":3}}},"=":{}}'),
    ({"a": [1, 2]}, {"a": [1, 3, 4]}, b'{"-":[],"~":{"a":{"#":2,"~":{},"=":{"1":3},"+":[4]}},"=":{}}'),
    ({"a": [1, 2]}, {"a": [1]}, b'{"-":[],"~":{"a":{"#":1,"~":{},"=":{},"+":[]}},"=":{}}'),
    (
        {"a": [{"b": 1}, {"b": 2}]},
        {"a": [{"b": 1}, {"b": 3}]},
        b'{"-":[],"~":{"a":{"#":2,"~":{"1":{"-":[],"~":{},"=":{"b":3}}},"=":{},"+":[]}},"=":{}}',
    ),
]


@pytest.mark.parametrize("before,after,change", GOLDEN)
def test_the_encoding_of_changes_is_the_one_of_version_1(before: Json, after: Json, change: bytes) -> None:
    assert CODEC == 1
    assert fold(before, after) == change
    assert unfold([dumps(before), change]) == dumps(after)


def test_a_whole_body_alone_unfolds_to_itself() -> None:
    data = document(new(message="\u2028", details={"a": -0.0}))
    assert unfold([data]) == data


def test_a_task_of_a_thousand_costs_a_change_of_its_own_size() -> None:
    job = new(steps=[{"name": "s", "tasks": [{"name": str(i)} for i in range(999)]}])
    after = say(job, steps=[{"name": "s", "tasks": [{"name": "500", "state": "succeeded"}]}])
    change = fold(as_json(job), as_json(after))
    assert change is not None
    assert len(change) < 500
    assert len(document(after)) > 100_000
    assert unfold([document(job), change]) == document(after)


def test_the_deepest_document_is_folded_and_unfolded() -> None:
    def nested(value: int) -> Json:
        return orjson.loads(b'{"a":' * 32 + b"%d" % value + b"}" * 32)

    def task(value: int) -> Json:
        return [{"name": "s", "tasks": [{"name": "t", "error": {"message": "m", "details": nested(value)}}]}]

    job = new(steps=task(1))
    after = say(job, steps=task(2))
    assert refolded([as_json(job), as_json(after)]) == document(after)
    assert report(steps=task(1)) != report(steps=task(2))
