"""What a request says besides its body: query, negotiation, conditions, preferences, keys.

Law: what a client could only have meant by mistake is refused with the name of the field; what HTTP says to ignore
(a malformed Accept, Prefer or If-None-Match) is ignored.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import orjson
from starlette.requests import Request

from gateway import values
from gateway.dialects.base import Operation
from gateway.errors import InvalidCursor, InvalidReport, InvalidRequest, NotAcceptable
from gateway.eventlog.base import Key
from gateway.frames import OMITTABLE
from gateway.record import POSITION
from gateway.values import DEFAULT_WORKSPACE, Json, parse_id, parse_workspace
from gateway.wanted import EARLIEST

MAX_VALUES: Final = 200  # values of one repeated parameter: each is looked at for every record of a stream
MAX_WAIT: Final = 60  # seconds; proxies give up on an answer after about that long
CACHE_BUSTERS: Final = frozenset({"_", "r"})  # which EventSource polyfills add; they mean nothing
CURSORS: Final = ("lastEventId", "last_event_id", "after")  # the first of these that is said counts
KEY_LENGTH: Final = 255  # characters of an idempotency key

ENTITY_TAG: Final = r'(?:W/)?"[!#-~]*"|[A-Za-z0-9._~\-]+'  # the latter for tags that lost their quotes on the way
IF_MATCH_PATTERN: Final = rf"^(\*|({ENTITY_TAG})(\s*,\s*({ENTITY_TAG}))*)$"
ID_PATTERN: Final = rf"^(?!\.{{1,2}}$){values.ID_PATTERN[1:]}"
_TAG: Final = re.compile(r'(W/)?"([^"]*)"|([^\s,"]+)')
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_T = TypeVar("_T")


def refuse_unknown(request: Request, operation: Operation) -> None:
    """Refuse query parameters that the operation does not know, and those that repeat but must not."""
    if not request.scope["query_string"]:
        return
    known = {parameter.name: parameter for parameter in operation.parameters if parameter.place == "query"}
    seen: dict[str, int] = {}
    for name, _ in request.query_params.multi_items():
        seen[name] = count = seen.get(name, 0) + 1
        if name not in known:
            if name in CACHE_BUSTERS:
                continue
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"
            raise InvalidRequest(f"the parameter {name[:100]!r} is not known here: {remedy}", field=name[:100])
        if count > (MAX_VALUES if known[name].many else 1):
            limit = f"at most {MAX_VALUES} times" if known[name].many else "once"
            raise InvalidRequest(f"{name} may stand here {limit}", field=name)


def checked(parse: Callable[[Json, str], _T], value: Json, field: str) -> _T:
    """A value of the address or query, parsed as in a report; refused as part of the request."""
    try:
        return parse(value, field)
    except InvalidReport as error:
        raise InvalidRequest(error.detail, field=field) from error


def workspace_of(request: Request) -> str:
    """The workspace that the query names, or the default one."""
    value = request.query_params.get("workspace") if request.scope["query_string"] else None
    return DEFAULT_WORKSPACE if value is None else checked(parse_workspace, value, "workspace")


def job_of(request: Request) -> tuple[str, str]:
    """(workspace, id) of the job at this address."""
    return workspace_of(request), checked(parse_id, request.path_params["id"], "id")


def whole_number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number of the query."""
    value = request.query_params.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
        raise InvalidRequest(f"{name} must be a whole number from {low} to {high}", field=name)
    return int(value)


def omitted(request: Request) -> frozenset[str]:
    """The bulky members that the query leaves out: `omit=steps,result`, also repeated."""
    names = [name for value in request.query_params.getlist("omit") for name in value.split(",") if name]
    for name in names:
        if name not in OMITTABLE:
            raise InvalidRequest(f"omit must be of {', '.join(OMITTABLE)}, separated by commas", field="omit")
    return frozenset(names)


def negotiate(request: Request, *offers: str) -> str:
    """The media type to answer with: the client's favourite by quality, then by how exactly it is named, then by the
    order of the offers. Raises NotAcceptable."""
    ranges = [found for item in _list(request, "accept") if (found := _media_range(item))]
    if not ranges:
        return offers[0]
    best = max(offers, key=lambda offer: _rank(ranges, offer))
    if _rank(ranges, best)[0] <= 0:
        raise NotAcceptable(f"this can be had as {', '.join(offers)}", available=list(offers))
    return best


def _media_range(item: str) -> tuple[str, float] | None:
    media, *parameters = (part.strip() for part in item.lower().split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            if not re.fullmatch(r"[01]?(\.[0-9]{0,9})?", value.strip()) or not value.strip("."):
                return None
            quality = min(float(value), 1.0)
    return (media, quality) if media else None


def _rank(ranges: Sequence[tuple[str, float]], offer: str) -> tuple[float, int]:
    """(quality, exactness) by the range that names the offer most exactly."""
    kind = offer.partition("/")[0]
    for exactness, names in ((3, (offer,)), (2, (f"{kind}/*",)), (1, ("*/*", "*"))):
        qualities = [quality for media, quality in ranges if media in names]
        if qualities:
            return max(qualities), exactness
    return 0.0, 0


def _list(request: Request, header: str) -> list[str]:
    return [item.strip() for value in request.headers.getlist(header) for item in value.split(",") if item.strip()]


@dataclass(frozen=True, slots=True)
class Tag:
    """An entity tag as a condition names it; `*` stands for any."""

    opaque: str
    weak: bool = False


def etag(position: str, omit: frozenset[str] = frozenset()) -> str:
    """The entity tag of a document; what was left out stands behind a tilde."""
    return f'"{position}~{".".join(sorted(omit))}"' if omit else f'"{position}"'


def tags(request: Request, header: str) -> list[Tag]:
    """The entity tags of If-Match or If-None-Match."""
    text = ", ".join(request.headers.getlist(header))
    return [Tag(found[2] if found[3] is None else found[3], bool(found[1])) for found in _TAG.finditer(text)]


def none_match(request: Request, current: str) -> bool:
    """Whether If-None-Match holds the current tag: the client has this already. Compared weakly, as HTTP says."""
    return any(tag.opaque in ("*", current.strip('"')) for tag in tags(request, "if-none-match"))


def expected(request: Request) -> tuple[str, ...] | None:
    """The positions that If-Match permits; None for any. Compared strongly: a weak tag permits nothing."""
    if "if-match" not in request.headers:
        return None
    if not re.fullmatch(IF_MATCH_PATTERN, ", ".join(request.headers.getlist("if-match")).strip()):
        raise InvalidRequest(
            'If-Match must be an ETag, such as "k7f3q2ab-1042", a list of them, or *', field="If-Match"
        )
    found = tags(request, "if-match")
    if any(tag.opaque == "*" for tag in found):
        return None
    return tuple("" if tag.weak else tag.opaque.partition("~")[0] for tag in found)


def preferences(request: Request) -> dict[str, str]:
    """The preferences of `Prefer` (RFC 7240), the first of each name."""
    said: dict[str, str] = {}
    for item in _list(request, "prefer"):
        name, _, value = item.partition(";")[0].partition("=")
        said.setdefault(name.strip().lower(), value.strip().strip('"'))
    return said


def preferred_wait(request: Request) -> int | None:
    """How long the client would wait, in seconds, MAX_WAIT at most; None where it says nothing that makes sense."""
    value = preferences(request).get("wait", "")
    if not re.fullmatch(r"[0-9]+", value, re.ASCII):
        return None
    return MAX_WAIT if len(value.lstrip("0")) > 2 else min(int(value), MAX_WAIT)


def cursor(request: Request) -> tuple[str | None, bool]:
    """The cursor of a stream, and whether it came as the header, which wins; what is empty is absent.

    Raises InvalidCursor for a malformed one of the query. A malformed header is left to the stream, which resets:
    a refusal would end a browser's EventSource for good.
    """
    said = [(name, value) for name in CURSORS if (value := request.query_params.get(name))]
    for name, value in said:
        if value != EARLIEST and not POSITION.fullmatch(value):
            detail = f"{name} must be a position that the gateway gave, such as k7f3q2ab-1042, or {EARLIEST}"
            raise InvalidCursor(detail, field=name)
    header = request.headers.get("last-event-id", "").strip()
    if header:
        return header, True
    return (said[0][1] if said else None), False


def idempotency_key(request: Request) -> str | None:
    """The text of Idempotency-Key: a string in quotes, as its specification has it, or bare."""
    values = request.headers.getlist("idempotency-key")
    if not values:
        return None
    text = values[0].strip()
    if text.startswith('"'):
        inner = text[1:-1]
        quoted = len(text) > 1 and text.endswith('"') and re.fullmatch(r'(?:[^"\\]|\\["\\])*', inner)
        text = re.sub(r"\\(.)", r"\1", inner) if quoted else ""
    return check_key(text if len(values) == 1 else None, "Idempotency-Key")


def check_key(value: Json, field: str) -> str:
    """An idempotency key: 1 to 255 visible ASCII characters."""
    if not isinstance(value, str) or len(value) > KEY_LENGTH or not _VISIBLE.fullmatch(value):
        raise InvalidRequest(f"{field} must be one string of 1 to {KEY_LENGTH} visible ASCII characters", field=field)
    return value


def key_of(request: Request, scope: str, data: Json) -> Key | None:
    """The idempotency key of a request with its digest: `scope` is `job` or `workspace`."""
    text = idempotency_key(request)
    return None if text is None else Key(scope, text, digest(route_of(request), data))


def route_of(request: Request) -> str:
    """Method and address as the table of operations has them, wherever the app is mounted."""
    return f"{request.method} {request.scope['route'].path}"


def digest(route: str, data: Json) -> bytes:
    """What tells requests of one key apart: a hash over method, route and the JSON in sorted order."""
    return hashlib.sha256(route.encode() + b"\n" + orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).digest()
