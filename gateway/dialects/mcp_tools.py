"""The tools of the MCP dialect as an agent sees them: names, texts, schemas, and the check of what it asks.

Law: the first three are word for word what mcp-background-job 0.1.2 lists, since clients validate answers against
these schemas; the fourth is ours. Nothing here needs the MCP SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.report import State
from gateway.values import Json

WAIT: Final = 50  # seconds; clients commonly give up on a tool after 60
MAX_WAIT: Final = 3600  # seconds; the stream beats meanwhile, so only the agent's own patience bounds it
MAX_SHOWN: Final = 200  # characters of an agent's own words in an error; no job's id is longer

STATUS: Final[Json] = {
    "description": "Current job status",
    "enum": ["running", "completed", "failed", "killed"],
    "type": "string",
}
TEXT_OR_NULL: Final[Json] = {"type": ["string", "null"]}


class ToolError(Exception):
    """What the agent is told instead of an answer."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `arguments` are the properties of its input schema; `failure` begins the text of what went wrong."""

    name: str
    title: str
    description: str
    arguments: Mapping[str, Json]
    required: tuple[str, ...]
    output: Mapping[str, Json]
    failure: str

    @property
    def input(self) -> dict[str, Json]:
        """The input schema."""
        schema = {"type": "object", "properties": dict(self.arguments), "additionalProperties": False}
        return schema | ({"required": list(self.required)} if self.required else {})

    def check(self, arguments: Mapping[str, Json]) -> None:
        """Raise ToolError for arguments that are not as the schema says, in the words that the original has for it."""
        found = [
            (name, _wrong(schema, arguments[name])) for name, schema in self.arguments.items() if name in arguments
        ]
        found += [(name, "Missing required argument") for name in self.required if name not in arguments]
        found += [(name[:MAX_SHOWN], "Unexpected keyword argument") for name in arguments if name not in self.arguments]
        errors = [f"{name}\n  {text}" for name, text in found if text]
        if errors:
            count = f"{len(errors)} validation error{'s' if len(errors) > 1 else ''}"
            raise ToolError("\n".join([f"{count} for call[{self.name}]", *errors]))


def _wrong(schema: Json, value: Json) -> str:
    """What is wrong with an argument; empty where nothing is."""
    if schema["type"] == "number":
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "Input should be a valid number"
        if value < schema["minimum"]:
            return f"Input should be greater than or equal to {schema['minimum']}"
        return "" if value <= schema["maximum"] else f"Input should be less than or equal to {schema['maximum']}"
    if not isinstance(value, str):
        return "Input should be a valid string"
    choices = schema.get("enum", [value])
    return "" if value in choices else f"Input should be {' or '.join(map(repr, choices))}"


def _job_id(purpose: str) -> dict[str, Json]:
    return {"job_id": {"description": f"Job ID to {purpose}", "type": "string"}}


def _object(description: str, properties: Mapping[str, Json]) -> dict[str, Json]:
    return {
        "description": description,
        "properties": dict(properties),
        "required": list(properties),
        "type": "object",
    }


_SUMMARY: Final = _object(
    "Minimal job information for listing operations.",
    {
        "job_id": {"description": "UUID v4 job identifier", "type": "string"},
        "status": STATUS,
        "command": {"description": "Shell command being executed", "type": "string"},
        "started": {"description": "UTC timestamp when job started", "format": "date-time", "type": "string"},
    },
)
_NEWS: Final = _object(
    "Output from wait tool.",
    {
        "changed": {"description": "Whether the job changed since `after`, or during the wait", "type": "boolean"},
        "position": {"description": "The place of this in the job's history, for `after`", "type": "string"},
        "status": STATUS,
        "state": {
            "description": "The same in more detail: running covers waiting, pausing and ending, too",
            "enum": [str(state) for state in State],
            "type": "string",
        },
        "progress": {"description": "Per cent done, null if not known", "type": ["number", "null"]},
        "step": {"description": "What it is doing", **TEXT_OR_NULL},
        "message": {"description": "What it says", **TEXT_OR_NULL},
        "error": {"description": "What went wrong", **TEXT_OR_NULL},
    },
)

TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool(
            "list_jobs",
            "List Jobs",
            "List all background jobs with their status.\n\n"
            "Returns a list of all background jobs, including their job ID, status,\n"
            "command, and start time. Jobs are sorted by start time (newest first).",
            {},
            (),
            _object(
                "Output from list tool.",
                {"jobs": {"description": "List of all background jobs", "items": _SUMMARY, "type": "array"}},
            ),
            "Failed to list jobs",
        ),
        Tool(
            "get_job_status",
            "Get Job Status",
            "Get the current status of a background job.",
            _job_id("check"),
            ("job_id",),
            _object("Output from status tool.", {"status": STATUS}),
            "Failed to get job status",
        ),
        Tool(
            "kill_job",
            "Kill Job",
            "Kill a running background job.",
            _job_id("kill"),
            ("job_id",),
            _object(
                "Output from kill tool.",
                {
                    "status": {
                        "description": "Kill result: 'killed', 'already_terminated', or 'not_found'",
                        "type": "string",
                    }
                },
            ),
            "Failed to kill job",
        ),
        Tool(
            "wait_for_job",
            "Wait For Job",
            "Wait until a background job changes or ends, and get its status then.\n\n"
            "Call this instead of get_job_status again and again. It returns at once for a job that has ended,\n"
            "and with changed=false when the time is over: then call it again, with the position it gave as after.",
            {
                **_job_id("wait for"),
                "timeout_s": {
                    "description": "Seconds to wait at most",
                    "type": "number",
                    "minimum": 0,
                    "maximum": MAX_WAIT,
                    "default": WAIT,
                },
                "until": {
                    "description": "Return at the next change of any kind, or only at the job's end",
                    "type": "string",
                    "enum": ["change", "end"],
                    "default": "change",
                },
                "after": {
                    "description": "The position of the answer before, so that no change in between is missed",
                    "type": "string",
                },
            },
            ("job_id",),
            _NEWS,
            "Failed to wait for job",
        ),
    )
}
