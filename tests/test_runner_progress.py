"""What is taken for progress in a command's output, what is not, and which line is the message."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.runner.progress import MAX_MESSAGE, TAIL, Output, Progress


def percent(*lines: str) -> float | None:
    progress = Progress()
    for line in lines:
        progress.read(line)
    return progress.percent


@pytest.mark.parametrize(
    "line,expected",
    [
        ("45%", 45),
        ("45.3 %", 45.3),
        ("45,3 %", 45.3),
        ("0% done", 0),
        (" 45%|####      | 45/100 [00:01<00:01, 31.2it/s]", 45),
        ("Receiving objects:  45% (45/100), 1.00 MiB | 1.2 MiB/s", 45),
        ("      1,234,567  45%  120.25MB/s    0:00:05", 45),
        ("[download]  45.3% of 10.00MiB at 1.00MiB/s", 45.3),
        ("[ 45%] Building CXX object main.o", 45),
        ("tests/test_job.py ..........   [ 45%]", 45),
        ("45% done, 0 errors", 45),
        ("3/10", 30),
        ("3 / 10", 30),
        ("3/10 ...", 30),
        ("[3/10] Linking", 30),
        ("(3/10) installing", 30),
        ("step 3/10", 30),
        ("Epoch 3/10", 30),
        ("Processing file 3/10: a.tif", 30),
        ("batches: 3/10", 30),
        ("3/10 files copied", 30),
        ("0/10 files", 0),
    ],
)
def test_a_number_that_can_only_be_progress_counts_at_once(line: str, expected: float) -> None:
    assert percent(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "2026/11",
        "2026/11/22 starting",
        "11/2026",
        "22/11/2026",
        "11/22 10:33:01 INFO starting",
        "open 24/7",
        "reading data/3/4/part",
        "reading 3/4.tif",
        "/3/10",
        "10.0.0.0/24",
        "HTTP/1.1 200",
        "v3/10",
        "5/0",
        "11/10",
        "1/1",
        "7/10 Mbps",
        "3/4 cups of flour",
        "+3/10",
        "foo%20bar 10%20",
        "CPU 95%",
        "memory usage is at 45 %",
        "coverage: 87%",
        "87% coverage",
        "12% packet loss",
        "accuracy 0.9 (90%)",
        "up +5%, down -3%",
        "10%-20% of all",
        "150%",
        "1.5%x",
        "%d/%d",
        "",
    ],
)
def test_what_may_be_something_else_does_not_count(line: str) -> None:
    assert percent(line) is None


@pytest.mark.parametrize("line", ["100%", "100 % packed", "35/35", "All passed (35/35)", "step 4/4"])
def test_what_is_first_seen_at_its_end_is_a_result(line: str) -> None:
    assert percent(line) is None


def test_an_end_that_was_reached_counts() -> None:
    assert percent("99%", "100%") == 100
    assert percent("3/4 tiles", "4/4 tiles") == 100


def test_a_count_in_running_text_counts_when_it_is_seen_to_grow() -> None:
    assert percent("tilting 3/12 of them") is None
    assert percent("tilting 3/12 of them", "tilting 3/12 of them") is None
    assert percent("tilting 3/12 of them", "tilting 4/12 of them") == pytest.approx(33.33)
    assert percent("1/500 abc.py", "1/3 of a cup", "2/500 ast.py") == 0.4


def test_progress_never_falls() -> None:
    assert percent("50%", "20%") == 50


def test_an_inner_loop_does_not_disturb_the_outer() -> None:
    assert percent("Epoch 1/4", "10/100 [==>  ]", "100/100 [====]", "Epoch 2/4", "60%") == 50
    assert percent("10%", "[3/4] inner", "20%") == 20


def test_a_flood_of_fractions_is_forgotten() -> None:
    progress = Progress()
    for total in range(2, 5000):
        progress.read(f"about 1/{total} of it")
    assert progress.percent is None


def look(*chunks: bytes, stream: int = 1) -> tuple[float | None, str | None]:
    output = Output(lambda: None)
    for chunk in chunks:
        output.feed(stream, chunk)
    return output.look()


@pytest.mark.parametrize(
    "chunks,message",
    [
        ([b"one\ntwo\n\n"], "two"),
        ([b"one\ntw", b"o"], "two"),
        ([b"one\r\ntwo\r\n"], "two"),
        ([b"\r10% of it\r20% of it\r"], "20% of it"),
        ([b"10%\b\b\b20%"], "20%"),
        ([b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07text\x1b(B"], "red text"),
        ([b"\x1b[3", b"1mred"], "red"),
        (["gr\u00fcn \u2713\n".encode()], "gr\u00fcn \u2713"),
        (["gr\u00fcn".encode()[:3], "gr\u00fcn".encode()[3:]], "gr\u00fcn"),
        ([b"done \xff\n"], "done \ufffd"),
        ([b"done\n\x7fELF\xff\xfe\xfd\xfc\xfb\n"], "done"),
        ([b"a\x00b\tc\x07\n"], "ab\tc"),
        ([b"x" * 10_000], "x" * (MAX_MESSAGE - 1) + "\u2026"),
        ([b"\n \n"], None),
        ([], None),
    ],
)
def test_the_message_is_the_last_line_without_its_decoration(chunks: list[bytes], message: str | None) -> None:
    assert look(*chunks)[1] == message


def test_progress_in_a_bar_that_writes_over_itself_is_seen() -> None:
    assert look(b"\r 10%|#", b"\r 20%|##", b"\x1b[K")[0] == 20


def test_whichever_stream_spoke_last_gives_the_message() -> None:
    output = Output(lambda: None)
    output.feed(2, b"warning\n")
    output.feed(1, b"going on\n")
    assert output.look() == (None, "going on")
    output.feed(2, b"trouble\n")
    assert output.look() == (None, "trouble")
    assert output.complaint() == ["warning", "trouble"]


def test_the_complaint_is_the_end_of_stderr_else_of_stdout() -> None:
    output = Output(lambda: None)
    output.feed(1, b"working\nlast wor")
    output.feed(1, b"d")
    assert output.complaint() == ["working", "last word"]
    output.feed(2, b"".join(b"%d\n" % number for number in range(100)))
    assert output.complaint() == [str(number) for number in range(80, 100)]
    assert Output(lambda: None).complaint() == []


def test_who_looks_is_woken_once_for_what_came_since_the_last_look() -> None:
    woken: list[int] = []
    output = Output(lambda: woken.append(1))
    output.feed(1, b"a\n")
    output.feed(2, b"b\n")
    assert len(woken) == 1
    output.look()
    output.feed(1, b"c\n")
    assert len(woken) == 2


def test_a_flood_costs_only_its_tail() -> None:
    output = Output(lambda: None)
    for _ in range(100):
        output.feed(1, b"10%\n" * 16_384)
    output.feed(1, b"20%\n")
    assert output.look() == (20, "20%")


@pytest.mark.parametrize("piece", [b"1/3 ", b"1/3\n", b"\x1b]", b"\x1b[", b"9%", b"( ", b"\xf0\x9f"], ids=repr)
def test_hostile_output_is_looked_at_in_a_moment(piece: bytes) -> None:
    output = Output(lambda: None)
    began = time.process_time()
    for _ in range(5):
        output.feed(1, piece * (TAIL // len(piece)))
        output.look()
    assert time.process_time() - began < 2.0


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\n", b"\r", b"45%", b"1/3", b"\x1b["]), max_size=20))
def test_whatever_comes_the_message_is_a_valid_line_and_progress_a_percentage(chunks: list[bytes]) -> None:
    done, message = look(*chunks)
    assert done is None or 0 <= done <= 100
    if message is not None:
        assert message.encode()
        assert 1 <= len(message) <= MAX_MESSAGE
        assert not any(ord(char) < 32 and char != "\t" for char in message)
