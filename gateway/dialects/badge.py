"""A job's status as a small picture, which embeds where nothing else can: a README, a wiki, an issue.

Law: no script, no style, no font and nothing from elsewhere, and whatever a job or an address says is escaped, so that
the picture is harmless wherever it is shown, also when it is opened by itself.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from starlette.requests import Request
from starlette.responses import Response

from gateway.dialects.requests import etag, job_of, none_match
from gateway.errors import InvalidRequest, JobDeleted, JobNotFound
from gateway.job import Job
from gateway.plain import one_line
from gateway.report import State
from gateway.service import Gateway

SVG: Final = "image/svg+xml"
MAX_LABEL: Final = 100  # characters that an address may ask for
MAX_SHOWN: Final = 40  # characters of a job's name; a badge stands in a line of text
HEIGHT: Final = 20  # pixels, as badges of other makers have
PADDING: Final = 6
FONT: Final = 11
GREY: Final = "#59636e"
LEFT: Final = "#2f363d"
# White on each of these has a contrast of 4.5 to 1 or more; a test reckons it.
COLORS: Final[Mapping[State, str]] = {
    State.CREATED: GREY,
    State.PENDING: GREY,
    State.RUNNING: "#0a5fb4",
    State.RETRYING: "#0a5fb4",
    State.PAUSING: "#8a4b08",
    State.RESUMING: "#8a4b08",
    State.CANCELLING: "#8a4b08",
    State.PAUSED: GREY,
    State.CANCELLED: GREY,
    State.SUCCEEDED: "#1a7036",
    State.FAILED: "#c0262d",
    State.UNKNOWN: "#6f42c1",
}
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-cache",  # the proxies of code hosts (camo) keep a picture for hours unless told so
    "Content-Security-Policy": "default-src 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",  # pages that isolate themselves may show it too
    "X-Content-Type-Options": "nosniff",
}
# Advance widths of Verdana in 2048ths of the font's size, from space to tilde. Each text is set to the width reckoned
# from these, so it fills its half of the badge in whatever font is really there.
WIDTHS: Final = (
    *(720, 806, 940, 1676, 1302, 2204, 1488, 550, 930, 930, 1302, 1676, 745, 930, 745, 930),
    *(1302, 1302, 1302, 1302, 1302, 1302, 1302, 1302, 1302, 1302, 930, 930, 1676, 1676, 1676, 1117),
    *(2048, 1400, 1404, 1430, 1578, 1295, 1177, 1588, 1539, 862, 931, 1419, 1140, 1726, 1532, 1612),
    *(1235, 1612, 1424, 1400, 1262, 1499, 1400, 2025, 1403, 1260, 1403, 930, 930, 930, 1676, 1302),
    *(1302, 1230, 1276, 1067, 1276, 1220, 720, 1276, 1296, 562, 705, 1212, 562, 1992, 1296, 1243),
    *(1276, 1276, 874, 1067, 807, 1296, 1212, 1676, 1212, 1212, 1076, 1300, 930, 1300, 1676),
)
WIDE, OTHER, EM = 2048, 1400, 2048  # characters of East Asia, of other scripts, and the font's size


@dataclass(frozen=True, slots=True)
class Badge:
    """What a badge says: a label on the left, a message on the right, and percent of a line below, if known."""

    label: str
    message: str
    color: str = GREY
    progress: float | None = None

    def svg(self) -> bytes:
        """The picture."""
        left, right = _width(self.label) + 2 * PADDING, _width(self.message) + 2 * PADDING
        said = f"{self.label}: {self.message}"
        line = ""
        if self.progress is not None:
            done = right * self.progress / 100
            line = f'<path fill="#fff" fill-opacity=".75" d="M{left} {HEIGHT - 2}h{done:.1f}v2H{left}z"/>'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img" '
            f"aria-label={quoteattr(said)}><title>{escape(said)}</title>"
            f'<clipPath id="r"><rect width="{left + right}" height="{HEIGHT}" rx="3"/></clipPath>'
            f'<g clip-path="url(#r)"><path fill="{LEFT}" d="M0 0h{left}v{HEIGHT}H0z"/>'
            f'<path fill="{self.color}" d="M{left} 0h{right}v{HEIGHT}H{left}z"/>{line}</g>'
            f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="{FONT}">'
            f"{_text(self.label, PADDING)}{_text(self.message, left + PADDING)}</g></svg>"
        ).encode()


async def read_badge(gateway: Gateway, request: Request) -> Response:
    """`GET /jobs/{id}/badge.svg`: the badge of the job as it stands. Of a job that isn't there it is a grey one, with
    the status of the error: a picture is all that a page can show in its place."""
    workspace, job_id = job_of(request)
    label = request.query_params.get("label")
    if label is not None and len(label) > MAX_LABEL:
        raise InvalidRequest(f"label may have {MAX_LABEL} characters", field="label")
    try:
        standing = gateway.glance(workspace, job_id) or await gateway.standing(workspace, job_id)
    except (JobNotFound, JobDeleted) as error:
        message = "deleted" if isinstance(error, JobDeleted) else "unknown"
        return _answer(request, Badge(_shown(label or job_id), message), error.status)
    return _answer(request, badge_of(standing.job, label or standing.job.name), 200)


def badge_of(job: Job, label: str) -> Badge:
    """The badge of a job under that label."""
    terminal = job.state in (State.SUCCEEDED, State.FAILED, State.CANCELLED)
    progress = None if terminal or job.progress is None else float(int(job.progress))  # 99.9 is not 100
    said = str(job.state) if progress is None else f"{job.state} {progress:.0f}%"
    return Badge(_shown(label), f"{said}, stalled" if job.stalled else said, COLORS[job.state], progress)


def _answer(request: Request, badge: Badge, status: int) -> Response:
    data = badge.svg()
    headers = {**HEADERS, "ETag": etag(hashlib.sha256(data).hexdigest()[:32])}
    if status == 200 and none_match(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(data, status, headers, SVG)


def _shown(text: str) -> str:
    """One line that a badge has room for; XML has no way to write the last two characters of a plane's first."""
    line = one_line(text).translate({0xFFFE: None, 0xFFFF: None}) or "job"
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 1] + "…"


def _width(text: str) -> int:
    """Pixels that a text takes."""
    return round(sum(map(_advance, text)) * FONT / EM)


def _advance(character: str) -> int:
    code = ord(character) - ord(" ")
    if 0 <= code < len(WIDTHS):
        return WIDTHS[code]
    if unicodedata.combining(character):
        return 0
    return WIDE if unicodedata.east_asian_width(character) in "WF" else OTHER


def _text(text: str, x: int) -> str:
    return f'<text x="{x}" y="14" textLength="{_width(text)}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
