"""The benchmark itself: that its rows still run, and that what is measured against is what it claims to be."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest

from tests.bench import __main__ as bench
from tests.bench import databases
from tests.bench.chart import of_goal, svg
from tests.bench.goals import GOALS, ROWS, Goal, Pair, Sizes
from tests.bench.load import LoadFailed, compiled, hit
from tests.bench.machine import about
from tests.bench.report import Results, as_json, figure, markdown

JOBS = 500  # after so many the jobs' states, workspaces, processes and labels repeat
SHORT = "burst,bulk,get"  # rows that use all parts: streams, bare programs, big logs
COMMITTED = Path(__file__).parent / "bench"
SMALL_DOCUMENT = Goal("a", "a", "what", "ms", 2.0, "that")
MORE_IS_BETTER = Goal("b", "b", "how many", "a second", 0.5, "that", at_least=True)
ALONE = Goal("c", "c", "how much", "KiB", 10.0)


def results(**rounds: list[Pair]) -> Results:
    """Results of rounds that were never run."""
    return Results("2026-02-19", about(preferred=False), Sizes(), rounds)


async def test_a_multiplied_log_is_what_the_log_itself_would_have_written(tmp_path: Path) -> None:
    multiplied, written = tmp_path / "multiplied.db", tmp_path / "written.db"
    await databases.write(multiplied, list(databases.entries(range(JOBS))))
    databases.multiply(multiplied, JOBS, 3)
    await databases.write(written, list(databases.entries(range(3 * JOBS))))
    assert everything(multiplied) == everything(written)


def everything(file: Path) -> dict[str, list[Any]]:
    """All rows of all tables, and the schema, with the log's own name left out."""
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (epoch,) = db.execute("SELECT epoch FROM epochs").fetchone()
        schema = db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
        tables = [name for kind, name, _ in schema if kind == "table"]
        rows = {name: sorted(map(repr, db.execute(f"SELECT * FROM {name}"))) for name in tables}
    return {name: [row.replace(epoch, "epoch") for row in found] for name, found in rows.items()} | {"schema": schema}


@pytest.mark.parametrize(
    "rows", [SHORT, pytest.param(",".join(ROWS), marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
def test_its_quick_form_measures_each_row_and_writes_what_it_found(
    rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "SCRATCH", tmp_path / "logs")  # those of a run beside this one stay as they are
    assert bench.main(["--quick", "--only", rows, "--output", str(tmp_path)]) == 0
    found = orjson.loads((tmp_path / "results.json").read_bytes())["figures"]
    wanted = [goal.key for goal in GOALS if goal.row in rows.split(",")]
    assert [one["key"] for one in found] == wanted
    # Of a few streams neither memory nor what is left after a subtraction means anything: it may even be negative.
    assert all(one["ours"] > 0 for one in found if one["key"] not in ("memory", "stalled_memory", "scale_alone"))
    table = (tmp_path / "results.md").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("| ") for line in table) == len(wanted) + 2
    ElementTree.parse(tmp_path / "results.svg")


def test_every_row_of_the_table_has_what_measures_it() -> None:
    assert list(bench.MEASURES) == list(ROWS)


def test_a_row_that_is_not_there_is_named_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["--only", "single,doubel"])
    assert ended.value.code == 2
    assert "there is no row 'doubel'; rows are single, burst" in capsys.readouterr().err


def test_the_figure_is_the_median_of_the_rounds_ratios_and_a_miss_is_said() -> None:
    found = figure(SMALL_DOCUMENT, results(a=[Pair(3, 1), Pair(100, 1), Pair(10, 4)]))
    assert found is not None
    assert (found.value, found.values, found.met) == (3, (3, 100, 2.5), False)
    more = figure(MORE_IS_BETTER, results(b=[Pair(3, 4)]))
    assert more is not None
    assert (more.value, more.met) == (0.75, True)
    alone = figure(ALONE, results(c=[Pair(10)]))
    assert alone is not None
    assert (alone.value, alone.met) == (10, True)


def test_a_peer_that_is_not_installed_is_said_to_be_so_and_nothing_is_judged() -> None:
    missing = results(single_nchan=[Pair(15.0)])
    found = figure(GOALS[0], missing)
    assert found is not None
    assert (found.value, found.met) == (None, None)
    assert "apt-get install nginx libnginx-mod-nchan" in markdown(missing)
    assert "single_nchan" not in svg(missing)
    assert as_json(missing)["figures"][0]["met"] is None


def test_in_the_chart_less_is_better_for_every_goal() -> None:
    assert of_goal(SMALL_DOCUMENT, 1.0) == 0.5
    assert of_goal(MORE_IS_BETTER, 1.0) == 0.5
    assert of_goal(MORE_IS_BETTER, 0.25) == 2.0


def test_a_server_that_answers_badly_stops_the_load_with_what_it_said() -> None:
    with pytest.raises(LoadFailed, match="connect"):
        hit(1, "GET", "/")
    assert Path(compiled("hit")).exists()


def test_a_disk_without_room_for_the_big_log_is_told_before_it_is_filled() -> None:
    with pytest.raises(LoadFailed, match="needs 5722045898 MiB"):
        databases.database(10**12)


def test_the_committed_results_hold_every_goal_and_name_neither_machine_nor_folder() -> None:
    texts = [(COMMITTED / f"results.{kind}").read_text(encoding="utf-8") for kind in ("json", "md", "svg")]
    data = orjson.loads(texts[0])
    assert [one["key"] for one in data["figures"]] == [goal.key for goal in GOALS]
    assert all(len(one["rounds"]) >= 3 for one in data["figures"])
    assert {"date", "machine", "sizes", "figures"} == set(data)
    assert not any(re.search(r"/(home|root|tmp|work|usr)/|\d+\.\d+\.\d+\.\d+", text) for text in texts)
    whole = replace(Sizes(), **data["sizes"])
    kept = {one["key"]: [Pair(**pair) for pair in one["rounds"]] for one in data["figures"]}
    again = Results(data["date"], data["machine"], whole, kept)
    assert texts[1] == markdown(again)
    assert texts[2] == svg(again)
