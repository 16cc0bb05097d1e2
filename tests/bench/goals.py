"""What is measured and what is wanted of it: one table, from which the run, the report and the chart are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table. Where `peer` is named the figure is ours over the peer's, else ours alone in `unit`.

    `at_least` turns the goal round; `goal` None only shows. `row` is what `--only` names.
    """

    key: str
    row: str
    title: str
    unit: str
    goal: float | None
    peer: str = ""
    at_least: bool = False

    def met(self, value: float) -> bool | None:
        """Whether a figure meets the goal; None where there is none."""
        if self.goal is None:
            return None
        return value >= self.goal if self.at_least else value <= self.goal


@dataclass(frozen=True, slots=True)
class Pair:
    """What one round measured for a goal: ours and the peer's in the goal's unit, and what explains it."""

    ours: float
    peer: float | None = None
    detail: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours over the peer's."""
        return self.ours / self.peer if self.peer else float("nan")


Figures = dict[str, Pair]

NCHAN: Final = "Nchan"
FLOOR: Final = "the floor in C"
HAND: Final = "sse-starlette by hand"
CONSTANT: Final = "a constant route"
BARE: Final = "a bare select and send"
US: Final = "µs CPU"
PER_CPU: Final = "a CPU second"

GOALS: Final = (
    Goal("single_nchan", "single", "one event to {streams} streams, CPU a delivery", US, 0.85, NCHAN),
    Goal("single_floor", "single", "one event to {streams} streams, CPU a delivery", US, 1.4, FLOOR),
    Goal("single_hand", "single", "one event to {streams} streams, CPU a delivery", US, None, HAND),
    Goal("burst_nchan", "burst", "events of 8 producers at once to {streams} streams, CPU a delivery", US, 0.20, NCHAN),
    Goal("burst_floor", "burst", "events of 8 producers at once to {streams} streams, CPU a delivery", US, None, FLOOR),
    Goal("burst_p99", "burst", "the p99 of these deliveries", "ms", 0.25, NCHAN),
    Goal("memory", "crowd", "memory a stream after events, {crowd} streams", "KiB", 0.85, NCHAN),
    Goal("opening", "crowd", "opening a stream, {crowd} at once, CPU", US, 3.0, NCHAN),
    Goal("reopening", "crowd", "opening one again with a cursor, {crowd} at once, CPU", US, 3.0, NCHAN),
    Goal("opening_apart", "crowd", "opening one with a cookie of its own, {crowd} at once, CPU", US, None, NCHAN),
    Goal("scale", "scale", "{crowd} streams, CPU a delivery", US, 1.2, "{few} streams"),
    Goal("scale_alone", "scale", "how much dearer a delivery is than with {few}, report aside", "×", 1.2, FLOOR),
    Goal("idle", "idle", "{crowd} idle streams with their sync every 15 s", "% of a core", 4.0),
    Goal("slice", "slice", "longest turn of the loop in a fan-out to {crowd} streams, CPU", "ms", 20.0),
    Goal("stalled", "stalled", "p99 of an event's delivery with 1 % more readers stalled", "ms", 1.2, "none stalled"),
    Goal("stalled_memory", "stalled", "what a stalled reader costs, kernel buffers included", "KiB", 256.0),
    Goal("durable", "durable", "durable single reports from 64 producers", "reports/s", 0.5, "not stored", True),
    Goal("bulk", "bulk", "bulk NDJSON, durable, 500 lines a transaction", "lines/s", 0.5, "bare sqlite3", True),
    Goal("latency", "latency", "report to delivery, one reader, median", "ms", 1.3, "commit + round trip"),
    Goal("get", "get", "GET of a hot job, {jobs} jobs in the log", PER_CPU, 0.7, CONSTANT, True),
    Goal("get_304", "get", "GET of a hot job that has not changed (304)", US, 1.0, "200"),
    Goal("get_few", "get", "GET of a hot job, {jobs} jobs in the log", US, 1.1, "{few_jobs} jobs"),
    Goal("get_cold", "get", "GET of cold jobs at random, {jobs} jobs", PER_CPU, 0.25, CONSTANT, True),
    Goal("list_state", "lists", "list by state, {jobs} jobs", US, 1.2, "{few_jobs} jobs"),
    Goal("list_workspace", "lists", "list by state and workspace, {jobs} jobs", US, 1.2, "{few_jobs} jobs"),
    Goal("list_process", "lists", "list by state and process, {jobs} jobs", US, 1.2, "{few_jobs} jobs"),
    Goal("list_label", "lists", "list of the newest by label, {jobs} jobs", US, 1.2, "{few_jobs} jobs"),
    Goal("replay", "replay", "replay of {replayed} small records to one reader", PER_CPU, 0.3, BARE, True),
    Goal("replay_folded", "replay", "replay of large, folded documents", PER_CPU, None, BARE, True),
    Goal("start", "start", "start with {jobs} jobs and {records} records until ready", "s", 1.5, "an empty log"),
    Goal("resident", "start", "resident memory then, after lists and cold reads", "MiB", 150.0),
)  # fmt: skip
ROWS: Final = tuple(dict.fromkeys(goal.row for goal in GOALS))


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each."""

    streams: int = 2000
    events: int = 40
    gap: float = 0.1  # seconds between two single events: the fan-out before is over
    crowd: int = 10_000
    crowd_events: int = 10
    crowd_gap: float = 0.5
    stalled: int = 200
    few: int = 100
    few_events: int = 300
    idle: float = 45.0  # seconds: three beats
    jobs: int = 1_000_000
    few_jobs: int = 1000
    records_a_job: int = 5
    reports: int = 4000
    lines: int = 10_000
    requests: int = 8000
    replayed: int = 100_000
    folded: int = 2000
    latencies: int = 150
    turns: int = 6  # a row goes back and forth so often in a round, so that a disturbance hits both sides

    def filled(self, text: str) -> str:
        """A text of the table with its numbers."""
        numbers = {
            name: f"{getattr(self, name):,}" for name in ("streams", "crowd", "few", "jobs", "few_jobs", "replayed")
        }
        return text.format(**numbers, records=f"{self.jobs * self.records_a_job:,}")


QUICK: Final = Sizes(
    streams=40, events=5, gap=0.02, crowd=80, crowd_events=3, crowd_gap=0.05, stalled=5, few=10, few_events=10,
    idle=0.5, jobs=2000, few_jobs=1000, reports=128, lines=1000, requests=64, replayed=500, folded=50,
    latencies=5, turns=1,
)  # fmt: skip
