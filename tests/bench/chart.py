"""The results as a chart: how far each figure is from its goal, on one scale, misses as they are.

The picture is SVG without scripts. It brings its own ground and follows the reader's light or dark preference, so that
it can be read in any page that shows it.
"""

from __future__ import annotations

import math
from html import escape
from typing import Final

from tests.bench.goals import Goal, Sizes
from tests.bench.report import Figure, Results, figures, footing, number, wanted

WIDTH: Final = 1100  # px, as all that follows
LABELS: Final = 470  # for what was measured
FIGURES: Final = 290  # for the figure and its goal
ROW: Final = 30
HEAD: Final = 84
FOOT: Final = 58
BAR: Final = 14
LEAST: Final = 1 / 32  # times the goal, at the left end of the scale
MOST: Final = 4.0  # at the right end
MARKS: Final = (1 / 16, 1 / 4, 1.0, 4.0)

_STYLE: Final = """
svg { color-scheme: light dark }
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #1f2328 }
.title { font-size: 17px; font-weight: 600 }
.quiet { fill: #59636e }
.small { font-size: 12px }
.ground { fill: #ffffff }
.band { fill: #f4f6f8 }
.grid { stroke: #d1d9e0 }
.goal { stroke: #1f2328; stroke-width: 1.5 }
.met { fill: #1a7f37 }
.missed { fill: #bc4c00 }
.round { fill: #1f2328 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet { fill: #9aa4af }
  .ground { fill: #0d1117 }
  .band { fill: #161b22 }
  .grid { stroke: #30363d }
  .goal { stroke: #e6edf3 }
  .met { fill: #3fb950 }
  .missed { fill: #f0883e }
  .round { fill: #e6edf3 }
}
"""


def svg(results: Results) -> str:
    """The chart of all figures that have a goal and were measured."""
    shown = [found for found in figures(results) if found.met is not None]
    height = HEAD + ROW * len(shown) + FOOT
    met = sum(found.met is True for found in shown)
    title = f"{met} of {len(shown)} goals met"
    rows = [_row(found, results.sizes, number) for number, found in enumerate(shown)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img" aria-label="{escape(title)}; the figures stand in the table">',
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
            f'<text class="title" x="16" y="30">{escape(title)}</text>',
            '<text class="quiet" x="16" y="50">Bars end at the median, dots are the rounds; '
            "left of the line is better.</text>",
            _scale(HEAD + ROW * len(shown)),
            *rows,
            *_footer(footing(results), height),
            "</svg>\n",
        ]
    )


def of_goal(goal: Goal, value: float) -> float:
    """How many times its goal a figure is, so that less is better for all."""
    assert goal.goal is not None
    ratio = goal.goal / value if goal.at_least else value / goal.goal
    return min(max(ratio, LEAST), MOST)


def _x(ratio: float) -> float:
    part = math.log(ratio / LEAST) / math.log(MOST / LEAST)
    return round(LABELS + part * (WIDTH - LABELS - FIGURES), 1)


def _scale(bottom: int) -> str:
    lines = []
    for mark in MARKS:
        word = "goal" if mark == 1 else f"{mark:g} ×" if mark > 1 else f"1/{1 / mark:g}"
        name = "goal" if mark == 1 else "grid"
        x = _x(mark)
        lines.append(f'<line class="{name}" x1="{x}" x2="{x}" y1="{HEAD - 6}" y2="{bottom}"/>')
        lines.append(f'<text class="quiet small" x="{x}" y="{HEAD - 12}" text-anchor="middle">{word}</text>')
    return "\n".join(lines)


def _row(found: Figure, sizes: Sizes, place: int) -> str:
    goal, top = found.goal, HEAD + ROW * place
    assert found.value is not None
    middle, end = top + ROW // 2, _x(of_goal(goal, found.value))
    verdict = "met" if found.met else "missed"
    text = f"{number(found.value)}{'' if goal.peer else ' ' + goal.unit}"
    aim = escape(wanted(goal, sizes))
    left, right, mark = WIDTH - FIGURES + 16, WIDTH - 16, "✓" if found.met else "✗"
    bar = f'x="{LABELS}" y="{middle - BAR // 2}" width="{max(end - LABELS, 2):.1f}" height="{BAR}" rx="2"'
    dots = [f'<circle class="round" cx="{_x(of_goal(goal, value))}" cy="{middle}" r="2"/>' for value in found.values]
    parts = [
        f'<rect class="band" x="0" y="{top}" width="{WIDTH}" height="{ROW}" opacity="{place % 2}"/>',
        f'<text x="16" y="{middle + 5}">{escape(sizes.filled(goal.title))}</text>',
        f'<rect class="{verdict}" {bar}/>',
        *dots,
        f'<line class="goal" x1="{_x(1)}" x2="{_x(1)}" y1="{top}" y2="{top + ROW}"/>',
        f'<text class="{verdict}" x="{left}" y="{middle + 5}">{mark} {escape(text)}</text>',
        f'<text class="quiet small" x="{right}" y="{middle + 5}" text-anchor="end">{aim}</text>',
    ]
    return "\n".join(parts)


def _footer(text: str, height: int) -> list[str]:
    first, _, second = text.partition("; ")
    return [
        f'<text class="quiet small" x="16" y="{height - 34}">{escape(first)}</text>',
        f'<text class="quiet small" x="16" y="{height - 16}">{escape(second)}</text>',
    ]
