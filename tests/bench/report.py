"""The results as JSON, as a Markdown table and as one line each."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from tests.bench.goals import GOALS, NCHAN, Goal, Pair, Sizes

INSTALL: Final = "not installed: apt-get install nginx libnginx-mod-nchan"


@dataclass(frozen=True, slots=True)
class Results:
    """The date (UTC), the machine, the sizes, and for each goal's key a pair for each round."""

    date: str
    machine: dict[str, str | int | bool]
    sizes: Sizes
    rounds: dict[str, list[Pair]]


@dataclass(frozen=True, slots=True)
class Figure:
    """The medians of a goal's rounds. `value` is what the goal speaks of: a ratio, or ours alone."""

    goal: Goal
    ours: float
    peer: float | None
    value: float | None
    values: tuple[float, ...]

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or no peer to tell."""
        return None if self.value is None else self.goal.met(self.value)


def figure(goal: Goal, results: Results) -> Figure | None:
    """The goal's figure; None where its row was not measured."""
    pairs = results.rounds.get(goal.key)
    if not pairs:
        return None
    ours = statistics.median(pair.ours for pair in pairs)
    if not goal.peer:
        values = tuple(pair.ours for pair in pairs)
        return Figure(goal, ours, None, ours, values)
    with_peer = [pair for pair in pairs if pair.peer is not None]
    if not with_peer:
        return Figure(goal, ours, None, None, ())
    values = tuple(pair.ratio for pair in with_peer)
    peer = statistics.median(pair.peer for pair in with_peer if pair.peer is not None)
    return Figure(goal, ours, peer, statistics.median(values), values)


def figures(results: Results) -> list[Figure]:
    """All that was measured, in the order of the table."""
    return [found for goal in GOALS if (found := figure(goal, results))]


def number(value: float) -> str:
    """A figure with as many digits as mean something."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if abs(value) < 1000 else f"{value:,.0f}"


def wanted(goal: Goal, sizes: Sizes) -> str:
    """The goal in words: `≤ 0.85 × Nchan`."""
    if goal.goal is None:
        return f"beside {sizes.filled(goal.peer)}"
    sign = "≥" if goal.at_least else "≤"
    return f"{sign} {goal.goal:g} × {sizes.filled(goal.peer)}" if goal.peer else f"{sign} {goal.goal:g} {goal.unit}"


def verdict(found: Figure) -> str:
    """`met`, `missed`, or nothing."""
    return {True: "met", False: "missed", None: ""}[found.met]


def shown(goal: Goal, results: Results) -> str:
    """The goal's figure in one line, with its rounds."""
    found = figure(goal, results)
    if found is None:
        return f"{goal.key}: not measured"
    sizes = results.sizes
    if found.value is None:
        return f"{goal.key}: {number(found.ours)} {goal.unit}; {goal.peer} {INSTALL}"
    beside = (
        f" ({number(found.ours)} / {number(found.peer)} {goal.unit})" if found.peer is not None else f" {goal.unit}"
    )
    rounds = ", ".join(number(value) for value in found.values)
    detail = ", ".join(f"{key} {number(value)}" for key, value in results.rounds[goal.key][-1].detail.items())
    return (
        f"{goal.key}: {number(found.value)}{beside}, wanted {wanted(goal, sizes)} {verdict(found)} "
        f"[{rounds}] {detail}".rstrip()
    )


def markdown(results: Results) -> str:
    """The table, and below it what it was measured on."""
    lines = ["| what | here | the peer | ratio | goal | |", "| --- | ---: | ---: | ---: | --- | --- |"]
    for found in figures(results):
        goal, sizes = found.goal, results.sizes
        peer = "" if found.peer is None else number(found.peer)
        if goal.peer == NCHAN and found.peer is None:
            peer = INSTALL
        ratio = number(found.value) if goal.peer and found.value is not None else ""
        cells = [
            sizes.filled(goal.title),
            f"{number(found.ours)} {goal.unit}",
            peer,
            ratio,
            wanted(goal, sizes),
            verdict(found),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", footing(results), ""])


def footing(results: Results) -> str:
    """Date, rounds, machine and versions, in a sentence or two."""
    machine = results.machine
    rounds = max((len(pairs) for pairs in results.rounds.values()), default=0)
    versions = [
        f"{name} {machine[name]}"
        for name in ("python", "uvicorn", "uvloop", "starlette", "aiosqlite", "sqlite", "nginx")
    ]
    priority = ", raised priority" if machine["priority_raised"] else ""
    places = "server on one core, load on the other" if machine["pinned"] else "server and load on the same cores"
    return (
        f"{results.date}, medians of {rounds} rounds, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, {places}{priority}; {', '.join(versions)}."
    )


def as_json(results: Results) -> dict[str, Any]:
    """Everything that was measured, for programs."""
    return {
        "date": results.date,
        "machine": results.machine,
        "sizes": asdict(results.sizes),
        "figures": [
            {
                "key": found.goal.key,
                "what": results.sizes.filled(found.goal.title),
                "unit": found.goal.unit,
                "ours": found.ours,
                "peer": found.peer,
                "peer_is": results.sizes.filled(found.goal.peer),
                "value": found.value,
                "goal": found.goal.goal,
                "at_least": found.goal.at_least,
                "met": found.met,
                "rounds": [asdict(pair) for pair in results.rounds[found.goal.key]],
            }
            for found in figures(results)
        ],
    }


def written(results: Results, folder: Path) -> None:
    """Write results.json and results.md; the chart is drawn from the same."""
    folder.mkdir(parents=True, exist_ok=True)
    data = orjson.dumps(as_json(results), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    (folder / "results.json").write_bytes(data)
    (folder / "results.md").write_text(markdown(results), encoding="utf-8")
