"""The contract of `EventLog`, continued: a request that is sent again is answered as the first time, for good."""

from __future__ import annotations

import pytest

from gateway.errors import IllegalTransition, JobDeleted, JobExists, JobNotFound, KeyReused
from gateway.eventlog.base import Entry, Outcome
from gateway.ids import new_id
from gateway.job import Delete, Wish
from gateway.record import alias_of
from tests.logs import Logbook, entry, key


async def replay(book: Logbook, entry: Entry, first: Outcome) -> None:
    """Send it again: the same answer, and nothing is written."""
    head = book.log.head
    again = await book.take(entry)
    assert again.replayed
    assert again.made == first.made
    assert again.standing.document == first.standing.document
    assert book.log.head == head


async def test_a_report_sent_again_gets_the_first_answer_however_late(book: Logbook) -> None:
    await book.say(create=True, state="running")
    sent = entry(progress=10, key=key("k"))
    first = await book.take(sent)
    assert (first.made, first.replayed) == (True, False)
    await replay(book, sent, first)
    for number in range(20, 60):
        await book.say(progress=number)
    await book.say(state="succeeded")
    await replay(book, sent, first)
    await book.reopen()
    await replay(book, sent, first)


async def test_a_key_is_kept_also_when_no_record_results(book: Logbook) -> None:
    await book.say(create=True, message="m")
    sent = entry(message="m", key=key("k"))
    first = await book.take(sent)
    assert not first.made
    await book.say(message="other")
    await replay(book, sent, first)
    await book.crash()
    await replay(book, sent, first)
    assert book.log.head == 2
    assert [record.job.message for record in await book.history()] == ["m", "other"]


async def test_a_key_used_again_for_another_request_is_refused(book: Logbook) -> None:
    await book.append(entry(create=True), entry("b", create=True))
    await book.say(progress=1, key=key("k", b"one"))
    for _ in range(2):
        with pytest.raises(KeyReused):
            await book.say(progress=2, key=key("k", b"two"))
        assert book.log.head == 3
        await book.reopen()


async def test_a_refusal_is_not_kept(book: Logbook) -> None:
    sent = entry(state="running", key=key("k"))
    with pytest.raises(JobNotFound):
        await book.take(sent)
    await book.say(create=True, state="cancelling")
    with pytest.raises(IllegalTransition):
        await book.take(entry(state="paused", key=key("k", b"2")))
    await book.say(state="unknown")
    first = await book.take(sent)
    assert first.made
    assert not first.replayed


async def test_a_refusal_is_not_kept_within_a_batch_either(book: Logbook) -> None:
    await book.say(create=True, state="cancelling")
    sent = entry(state="paused", key=key("k"))
    answers = await book.append(sent, entry(state="unknown"), sent, sent)
    assert [type(answer) for answer in answers] == [IllegalTransition, Outcome, Outcome, Outcome]
    assert [answer.replayed for answer in answers if isinstance(answer, Outcome)] == [False, False, True]


async def test_keys_are_scoped_by_the_job_under_all_its_names(book: Logbook) -> None:
    await book.append(entry(create=True), entry("b", create=True), entry("a", create=True, workspace="other"))
    first = await book.say(message="m", key=key("k"))
    for _ in range(2):
        await replay(book, entry(alias_of("default", "a"), message="m", key=key("k")), first)
        await book.reopen()
    assert not (await book.say("b", message="m", key=key("k"))).replayed
    assert not (await book.say("a", message="m", key=key("k"), workspace="other")).replayed
    assert not (await book.say("c", create=True, key=key("k", scope="workspace"))).replayed
    with pytest.raises(KeyReused):
        await book.say(alias_of("default", "a"), message="other", key=key("k", b"2"))


async def test_a_key_works_within_one_batch(book: Logbook) -> None:
    await book.say(create=True)
    sent = [entry(message="m", key=key("k")), entry(alias_of("default", "a"), message="m", key=key("k"))]
    other = entry(message="o", key=key("k", b"2"))
    answers = await book.append(*sent, entry(message="between"), sent[0], other)
    assert [type(answer) for answer in answers] == [Outcome, Outcome, Outcome, Outcome, KeyReused]
    outcomes = [answer for answer in answers if isinstance(answer, Outcome)]
    assert [(answer.replayed, answer.standing.last) for answer in outcomes] == [
        (False, 2),
        (True, 2),
        (False, 3),
        (True, 2),
    ]
    assert book.log.head == 3


async def test_a_wish_has_keys_too(book: Logbook) -> None:
    await book.say(create=True, state="running")
    sent = entry("a", Wish("cancel"), key=key("k"))
    first = await book.take(sent)
    await book.say(state="cancelled")
    await replay(book, sent, first)


async def test_a_creation_without_id_sent_again_finds_the_first_job(book: Logbook) -> None:
    first = await book.say(new_id(), fresh=True, name="n", key=key("k", scope="workspace"))
    for _ in range(2):
        await replay(book, entry(new_id(), fresh=True, name="n", key=key("k", scope="workspace")), first)
        await book.crash()
    with pytest.raises(KeyReused):
        await book.say(new_id(), fresh=True, key=key("k", b"2", scope="workspace"))
    other = await book.say(new_id(), fresh=True, workspace="other", key=key("k", scope="workspace"))
    assert other.standing.job.id != first.standing.job.id
    assert len(await book.history()) == 2


async def test_a_line_that_creates_its_job_is_recognised_when_it_comes_again(book: Logbook) -> None:
    sent = entry("a", create=True, state="running", key=key("k"))
    first = await book.take(sent)
    assert first.made
    await book.say(progress=3)
    await replay(book, sent, first)
    await book.reopen()
    await replay(book, sent, first)


async def test_the_same_creation_finds_its_job_after_it_has_moved_on(book: Logbook) -> None:
    sent = entry(fresh=True, digest=b"body", message="m")
    assert (await book.take(sent)).made
    await book.say(state="running")
    moved = await book.say(progress=50)
    for _ in range(3):
        again = await book.take(sent)
        assert (again.made, again.replayed, again.standing) == (False, False, moved.standing)
        for other in (b"other", None):
            with pytest.raises(JobExists):
                await book.say(fresh=True, digest=other, message="m")
        await book.crash()
    assert book.log.head == 3


async def test_a_creation_that_is_recognised_keeps_its_key(book: Logbook) -> None:
    await book.say(fresh=True, digest=b"body")
    sent = entry(fresh=True, digest=b"body", key=key("k", scope="workspace"))
    first = await book.take(sent)
    assert not first.made
    await book.say(message="x")
    await replay(book, sent, first)


async def test_a_key_of_a_deleted_job_tells_that_it_is_gone(book: Logbook) -> None:
    sent = [
        entry(fresh=True, digest=b"body", key=key("create", scope="workspace"), state="running"),
        entry(state="succeeded", key=key("end")),
        entry("a", Delete(), key=key("delete")),
    ]
    for each in sent:
        await book.take(each)
    for _ in range(2):
        for each in sent:
            with pytest.raises(JobDeleted):
                await book.take(each)
        with pytest.raises(KeyReused):
            await book.take(entry(state="failed", key=key("end", b"other")))
        await book.reopen()
    assert book.log.head == 3


async def test_the_key_of_a_list_of_reports_covers_all_of_it(book: Logbook) -> None:
    await book.say(create=True)
    reports = [entry(state="running").changes[0], entry(progress=5).changes[0]]
    sent = entry("a", *reports, key=key("k"))
    first = await book.take(sent)
    assert first.standing.last == 3
    await book.say(progress=50)
    await replay(book, sent, first)


async def test_a_key_goes_before_if_match(book: Logbook) -> None:
    start = await book.say(create=True)
    sent = entry(message="m", key=key("k"), expect=start.standing.job.position)
    first = await book.take(sent)
    await replay(book, sent, first)
