"""The forms in which Weaver's dialect answers: its profiles with their words, and what a request asks for.

Law: this is the one table of states; each column is a profile, and the first is that of Weaver's published page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from starlette.requests import Request

from gateway.dialects.base import JSON
from gateway.dialects.requests import negotiate, preferences
from gateway.errors import InvalidRequest, NotAcceptable
from gateway.report import State
from gateway.values import DEFAULT_WORKSPACE

XML: Final = "application/xml"
HTML: Final = "text/html"  # what a browser asks for first; it gets JSON
PAGE, OGC, OPENEO, WPS = "", "ogc", "openeo", "wps"  # the first is the form of Weaver's own page, where none is named
JOB_DESCRIPTION: Final = "https://www.opengis.net/def/profile/OGC/0/job-description"
RELATIONS: Final = "https://www.opengis.net/def/rel/ogc/1.0"
EXCEPTIONS: Final = "https://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"
OPENEO_SCHEMA: Final = "https://openeo.org/documentation/1.0/developers/api/openapi.yaml#/components/schemas/batch_job"
# A body names the schema that it satisfies: `succeeded` satisfies none of OGC's, and WPS has none for JSON.
SCHEMAS: Final[Mapping[str, str]] = {
    OGC: "https://schemas.opengis.net/ogcapi/processes/part1/1.0/openapi/schemas/statusInfo.yaml",
    OPENEO: OPENEO_SCHEMA,
}
XML_SCHEMA: Final = "https://schemas.opengis.net/wps/1.0.0/wpsExecute_response.xsd"
PROFILES: Final[Mapping[str, str]] = {
    OGC: OGC,
    OPENEO: OPENEO,
    WPS: WPS,
    JOB_DESCRIPTION.lower(): OGC,
    OPENEO_SCHEMA.lower(): OPENEO,
    XML_SCHEMA.lower(): WPS,
}
TYPES: Final[Mapping[str, str]] = {OPENEO: "openeo", WPS: "wps"}

_ACCEPTED: Final = ("accepted", "accepted", "queued", "accepted")
_RUNNING: Final = ("running", "running", "running", "started")
_TABLE: Final[Mapping[State, tuple[str, str, str, str]]] = {  # Weaver's page, OGC, openEO, WPS
    State.CREATED: _ACCEPTED,
    State.PENDING: _ACCEPTED,
    State.RUNNING: _RUNNING,
    State.PAUSING: _RUNNING,
    State.PAUSED: ("running", "running", "queued", "paused"),
    State.RESUMING: _RUNNING,
    State.RETRYING: _RUNNING,
    State.CANCELLING: _RUNNING,
    State.SUCCEEDED: ("succeeded", "successful", "finished", "succeeded"),
    State.FAILED: ("failed", "failed", "error", "failed"),
    State.CANCELLED: ("dismissed", "dismissed", "canceled", "failed"),
    State.UNKNOWN: _RUNNING,
}
WORDS: Final[Mapping[str, Mapping[State, str]]] = {
    profile: {state: row[column] for state, row in _TABLE.items()}
    for column, profile in enumerate((PAGE, OGC, OPENEO, WPS))
}

_PROFILE_OF_ACCEPT: Final = re.compile(r';\s*profile="?([^";,\s]+)', re.IGNORECASE)
_PROFILE_OF_LINK: Final = re.compile(r'<([^>]*)>\s*;\s*rel="?profile\b', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """A form of the status: its profile, whether it is XML, and whether OGC's profile was asked for by its URI."""

    profile: str = PAGE
    xml: bool = False
    by_uri: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers that say which form it is."""
        if self.xml:
            return {"Content-Type": f"{XML}; profile={WPS}", "Content-Schema": XML_SCHEMA}
        if self.profile == PAGE:
            return {"Content-Type": JSON}
        named = f'"{JOB_DESCRIPTION}"' if self.by_uri else self.profile
        headers = {"Content-Type": f"{JSON}; profile={named}"}
        if self.profile in SCHEMAS:
            headers["Content-Schema"] = SCHEMAS[self.profile]
        if self.profile == OGC:
            headers |= {"Content-Profile": JOB_DESCRIPTION, "Link": f'<{JOB_DESCRIPTION}>; rel="profile"'}
        return headers


def form_of(request: Request) -> Form:
    """The form that a request asks for. Raises NotAcceptable, and InvalidRequest for what can't be combined."""
    said = _profile(request)
    # Weaver takes a profile that it does not know for its own default, which is OGC's.
    profile = PAGE if said is None else PROFILES.get(said.lower(), OGC)
    accept = request.headers.get("accept", "*/*").strip()
    if profile == WPS and accept in ("", "*/*") and format_of(request) is None:
        return Form(WPS, xml=True)
    if media_of(request, JSON, XML, "text/xml") == JSON:
        return Form(profile, by_uri=said is not None and said.lower() == JOB_DESCRIPTION.lower())
    if profile not in (PAGE, WPS):
        detail = "Requested job schema profile cannot be combined with XML representation."
        raise InvalidRequest(detail, cause={"profile": profile})
    return Form(WPS, xml=True)


def media_of(request: Request, *offers: str) -> str:
    """The media type to answer with, by `f` or Accept. Raises NotAcceptable, InvalidRequest."""
    asked = format_of(request)
    if asked is not None:
        short = {offer.partition("/")[2]: offer for offer in reversed(offers)} | {"txt": "text/plain"}
        if asked in ("html", HTML):
            raise NotAcceptable(f"this can be had as {', '.join(offers)}")
        found = short.get(asked, asked)
        if found not in offers:
            raise InvalidRequest("f must be one of json, xml, txt, as far as this can be had so", field="f")
        return found
    # A browser likes XML better than anything but HTML: what a person reads best of what there is, is JSON.
    chosen = negotiate(request, *offers, HTML)
    return negotiate(request, JSON) if chosen == HTML else chosen


def format_of(request: Request) -> str | None:
    """What `f` (or `format`) says, in lower case."""
    value = request.query_params.get("f") or request.query_params.get("format")
    return value.lower() if value else None


def _profile(request: Request) -> str | None:
    """The profile that a request names, in Weaver's order of precedence."""
    query, headers = request.query_params, request.headers
    accepted = _PROFILE_OF_ACCEPT.search(headers.get("accept", ""))
    linked = _PROFILE_OF_LINK.search(headers.get("link", ""))
    said = (
        query.get("profile"),
        headers.get("accept-profile", "").partition(",")[0].partition(";")[0].strip(' <>"'),
        accepted and accepted[1],
        preferences(request).get("profile"),
        linked and linked[1],
    )
    schema = query.get("schema", "").lower()
    return next((value for value in said if value), schema if schema in PROFILES else None)


def base_of(request: Request) -> str:
    """The address of the dialect's root, wherever it is mounted."""
    return f"{request.url.scheme}://{request.url.netloc}{quote(request.scope.get('root_path', ''))}"


def address(base: str, path: str, workspace: str, **query: str) -> str:
    """An address below `base`; the workspace is said where it is not the default one."""
    if workspace != DEFAULT_WORKSPACE:
        query["workspace"] = workspace
    return f"{base}{path}?{urlencode(query)}" if query else f"{base}{path}"


def link(rel: str, href: str, title: str, media: str = JSON) -> dict[str, str]:
    """A link as Weaver writes it."""
    return {"rel": rel, "href": href, "type": media, "hreflang": "en-CA", "title": title}
