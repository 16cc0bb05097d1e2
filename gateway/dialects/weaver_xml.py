"""A job as the document of a WPS 1.0 Execute response, which OWSLib and other WPS clients poll.

Law: the document is built as a tree, and whatever a producer said is first rid of what XML can't hold, so that no
message makes it unreadable.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from gateway.dialects.translator import uuid_of_job
from gateway.dialects.weaver_body import MESSAGES, exceptions_of, message_of, percent_of, time_of
from gateway.dialects.weaver_forms import WORDS, WPS, XML_SCHEMA, address
from gateway.job import Job
from gateway.report import State

WPS_SPACE: Final = "http://www.opengis.net/wps/1.0.0"
NAMESPACES: Final = {
    "xmlns:wps": WPS_SPACE,
    "xmlns:ows": "http://www.opengis.net/ows/1.1",
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def execute_response(job: Job, base: str) -> bytes:
    """The document, in UTF-8; `base` is the address of the dialect's root."""
    # Names stand as they are written, prefix and all: ElementTree's own prefixes are a setting of the whole process.
    root = Element(
        "wps:ExecuteResponse",
        NAMESPACES
        | {
            "xsi:schemaLocation": f"{WPS_SPACE} {XML_SCHEMA}",
            "service": "WPS",
            "version": "1.0.0",
            "xml:lang": "en-CA",
            "serviceInstance": f"{base}/",
            "statusLocation": address(base, f"/jobs/{uuid_of_job(job)}", job.workspace, f="xml"),
        },
    )
    process = SubElement(root, "wps:Process", {"wps:processVersion": "1.0.0"})  # any: the schema demands one
    SubElement(process, "ows:Identifier").text = clean(job.process or job.name)
    SubElement(process, "ows:Title").text = clean(job.name)
    status = SubElement(root, "wps:Status", {"creationTime": str(time_of(job.finished or job.updated))})
    word = WORDS[WPS][job.state]
    element = SubElement(status, f"wps:Process{word.capitalize()}")
    if word == "failed":
        _report(element, job)
        return _written(root)
    if word in ("started", "paused"):
        element.set("percentCompleted", str(int(percent_of(job))))
    element.text = clean(message_of(job))
    return _written(root)


def _report(element: Element, job: Job) -> None:
    report = SubElement(element, "wps:ExceptionReport", {"version": "1.0.0"})
    found = exceptions_of(job)
    if job.state is State.CANCELLED:
        found = [{"Code": "JobDismissed", "Locator": "", "Text": MESSAGES["dismissed"]}]
    for item in found:
        exception = SubElement(report, "ows:Exception", {"exceptionCode": clean(item["Code"])})
        if item["Locator"]:
            exception.set("locator", clean(item["Locator"]))
        SubElement(exception, "ows:ExceptionText").text = clean(item["Text"])


def _written(root: Element) -> bytes:
    data: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return data


def clean(text: str) -> str:
    """The text with a mark in place of each character that XML can't hold."""
    return FORBIDDEN.sub(REPLACEMENT, text)
