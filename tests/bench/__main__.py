"""What this machine does, each figure beside its peer's of the same run: `make bench`, `python -m tests.bench`.

Ratios within one run hold on a busy machine, and CPU time does; wall-clock times do not. What is shown is the median of
the rounds. The results go to results.json, results.md and results.svg in the folder given by --output.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.bench import databases, fanout, reads, writes
from tests.bench.chart import svg
from tests.bench.fanout import Bench
from tests.bench.goals import GOALS, QUICK, ROWS, Figures, Sizes
from tests.bench.machine import about, prefer
from tests.bench.report import Results, markdown, shown, written

MEASURES: Final[dict[str, Callable[[Bench], Figures]]] = {
    "single": fanout.single,
    "burst": fanout.burst,
    "crowd": fanout.crowd,
    "scale": fanout.scale,
    "idle": fanout.idle,
    "slice": fanout.slices,
    "stalled": fanout.stalled,
    "durable": writes.durable,
    "bulk": writes.bulk,
    "latency": writes.latency,
    "get": reads.get,
    "lists": reads.lists,
    "replay": reads.replay,
    "start": reads.start,
}


def run(rows: Sequence[str], rounds: int, sizes: Sizes) -> Results:
    """Measure the rows, so many rounds each, and tell on stderr how it goes."""
    preferred = sizes is not QUICK and prefer()
    results = Results(datetime.now(UTC).strftime("%Y-%m-%d"), about(preferred), sizes, {})
    for row in rows:
        for number in range(rounds):
            begin = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                figures = MEASURES[row](Bench(Path(folder), sizes, number))
            for key, pair in figures.items():
                results.rounds.setdefault(key, []).append(pair)
            print(f"{row}, round {number + 1}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        for goal in GOALS:
            if goal.row == row:
                print("  " + shown(goal, results), file=sys.stderr, flush=True)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status is 0 also where goals are missed: this measures, it does not judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", default=",".join(MEASURES), help=f"rows, by commas: {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each row (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one small round: shows that it works, measures nothing")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder for the results")
    parser.add_argument("--keep", action="store_true", help="keep the big logs (about 5 GB) for the next run")
    options = parser.parse_args(arguments)
    rows = options.only.split(",")
    for row in rows:
        if row not in MEASURES:
            parser.error(f"--only: there is no row {row!r}; rows are {', '.join(MEASURES)}")
    if options.rounds < 1:
        parser.error("--rounds: at least 1 is needed")
    try:
        results = run(rows, 1 if options.quick else options.rounds, QUICK if options.quick else Sizes())
    finally:
        if not options.keep:
            databases.forget()
    written(results, options.output)
    (options.output / "results.svg").write_text(svg(results), encoding="utf-8")
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
