"""The contract at /openapi.json is made from the tables of the code, is valid, and is what the routes really do."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from openapi_spec_validator import validate
from starlette.routing import BaseRoute, Mount, Route

from gateway import report as reports
from gateway.app import create_app
from gateway.dialects.base import Resource
from gateway.dialects.canonical import OPERATIONS
from gateway.errors import ERRORS, GatewayError, HeadTooLarge, MethodNotAllowed, NotFound
from gateway.job import TRANSITIONS, create
from gateway.openapi import EVERYWHERE, HEADERS, UNSAFE, contract
from gateway.record import as_json
from gateway.report import Identity, Report
from gateway.schemas import SCHEMAS
from gateway.settings import Settings
from gateway.site import Site, static_folder
from tests.api import NDJSON, PROBLEM, api, document, report, served

ROOT = Path(__file__).parent.parent
NOWHERE_DOCUMENTED = {
    MethodNotAllowed,
    HeadTooLarge,
}  # which meet no operation: the method or the head is refused first


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The contract as a reader gets it."""
    site = Site((), static_folder())
    value = orjson.loads(orjson.dumps(contract([("/v1", OPERATIONS), ("", site.operations)])))
    assert isinstance(value, dict)
    return value


def operations_of(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def resources(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, Resource]]:
    """Every address that the app really has."""
    for route in routes:
        if isinstance(route, Mount):
            yield from resources(list(route.routes), prefix + route.path)
        else:
            assert isinstance(route, Route)
            assert isinstance(route.app, Resource)
            yield prefix + route.path, route.app


def test_it_is_valid(described: dict[str, Any]) -> None:
    validate(described)
    assert described["openapi"].startswith("3.1.")


async def test_it_is_served_as_it_is_made(tmp_path: Path, described: dict[str, Any]) -> None:
    async with api(tmp_path) as client:
        assert document(await client.get("/openapi.json")) == described


def test_its_operations_are_the_routes_and_the_routes_are_its_operations(
    tmp_path: Path, described: dict[str, Any]
) -> None:
    app = create_app(Settings(database=str(tmp_path / "status.db")))
    routed = {
        (method, path)
        for path, resource in resources(list(app.routes))
        for method, operation in resource.operations.items()
        if operation.documented and method != "HEAD"
    }
    assert routed == {(method, path) for method, path, _ in operations_of(described)}


def test_every_operation_has_a_name_of_its_own_and_says_what_it_is(described: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations_of(described)]
    assert len(set(names)) == len(names)
    for _, path, operation in operations_of(described):
        assert operation["summary"]
        named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
        assert all(parameter["description"] for parameter in operation["parameters"])
        for answer in operation["responses"].values():
            assert answer["description"]
            assert set(answer.get("headers", {})) <= set(HEADERS)


def test_every_refusal_stands_at_an_operation_that_can_meet_it() -> None:
    site = Site((), static_folder())
    told: set[type[GatewayError]] = {error for operation in OPERATIONS for error in operation.errors}
    told |= {error for operation in site.operations for error in operation.errors} | set(EVERYWHERE)
    unsafe = {error for error in ERRORS if error.code == "foreign-origin"}
    assert told | unsafe | NOWHERE_DOCUMENTED == set(ERRORS)
    assert NotFound in told


def test_only_operations_that_change_something_refuse_a_foreign_origin(described: dict[str, Any]) -> None:
    for method, _, operation in operations_of(described):
        assert ("403" in operation["responses"]) == (method in UNSAFE)


# ---- schemas ----


@pytest.mark.parametrize(
    "schema, members",
    [
        ("Report", {*reports.REPORT_MEMBERS}),
        ("NewJob", {*reports.REPORT_MEMBERS, *reports.CREATE_IDENTITY}),
        ("BulkLine", {*reports.REPORT_MEMBERS, *reports.LINE_IDENTITY, "key"}),
        ("Step", {*reports.STEP_MEMBERS}),
        ("Task", {*reports.TASK_MEMBERS}),
        ("Link", {*reports.LINK_MEMBERS}),
        ("Error", {*reports.ERROR_MEMBERS}),
    ],
)
def test_the_members_of_a_schema_are_those_that_the_code_takes(schema: str, members: set[str]) -> None:
    assert set(SCHEMAS[schema]["properties"]) == members
    assert SCHEMAS[schema]["additionalProperties"] is False


def test_the_document_of_the_schema_has_the_members_of_the_real_one_in_their_order() -> None:
    job = create(Identity("a"), Report(), "2026-02-19T10:00:00.000Z", "default")
    assert list(SCHEMAS["Job"]["properties"]) == list(as_json(job))
    assert set(SCHEMAS["Job"]["properties"]) - set(SCHEMAS["Job"]["required"]) == {"steps", "details", "result"}


def test_states_transitions_and_problems_are_those_of_the_tables() -> None:
    assert SCHEMAS["State"]["enum"] == [str(state) for state in reports.State]
    assert SCHEMAS["State"]["x-transitions"] == {
        str(state): [str(x) for x in after] for state, after in TRANSITIONS.items()
    }
    assert set(SCHEMAS["Problem"]["properties"]["type"]["enum"]) == {PROBLEM + error.code for error in ERRORS}


def test_every_schema_that_is_named_exists_and_every_one_that_exists_is_named(described: dict[str, Any]) -> None:
    text = orjson.dumps(described).decode()
    for name in SCHEMAS:
        assert f'"#/components/schemas/{name}"' in text, f"{name} is not used"


def valid(value: Any, schema: str, described: dict[str, Any]) -> None:
    root = {"$ref": f"#/components/schemas/{schema}", "components": described["components"]}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(root, format_checker=checker).validate(value)


async def test_what_is_really_answered_fits_its_schema(tmp_path: Path, described: dict[str, Any]) -> None:
    full = {
        "state": "running",
        "progress": 12.5,
        "step": "s",
        "message": "m",
        "error": {"message": "e", "code": "c", "stack": "s", "details": {"x": [1, None]}},
        "details": {"deep": [{"x": 2**53}]},
        "labels": {"k": "v"},
        "steps": [{"name": "s", "state": "failed", "error": "e", "tasks": [{"name": "t", "details": {"a": 1}}]}],
        "lease": 60,
        "links": [{"rel": "log", "href": "http://x/", "type": "text/plain"}],
        "result": {"any": ["thing", None]},
        "time": "2026-02-19T10:00:00+02:00",
    }
    async with api(tmp_path) as client:
        for state in TRANSITIONS:
            line = orjson.dumps({**full, "job": state, "state": state, "process": "p", "name": "n"})
            answer = await client.post("/v1/events", content=line + b"\n" + b"[]\n", headers=NDJSON)
            valid([orjson.loads(line) for line in answer.content.splitlines()], "BulkAnswers", described)
            valid(document(await client.get(f"/v1/jobs/{state}")), "Job", described)
            valid(document(await client.get(f"/v1/jobs/{state}?omit=steps,details,result")), "Job", described)
        await report(client, "pending", state="running")
        valid(document(await client.get("/v1/jobs?limit=3")), "Jobs", described)
        history = await client.get("/v1/jobs/pending/events", headers={"Accept": "application/json"})
        valid(document(history), "History", described)
        await client.delete("/v1/jobs/failed")
        happened = document(await client.get("/v1/events", headers={"Accept": "application/json"}))
        assert {record["event"] for record in happened["records"]} == {"transition", "deleted"}
        valid(happened, "Happened", described)
        for refused in (await report(client, "succeeded", state="running"), await client.get("/v1/jobs/nobody")):
            valid(orjson.loads(refused.content), "Problem", described)


@pytest.mark.parametrize(
    "schema, value",
    [
        ("Report", {"stat": "running"}),
        ("Report", {"state": "done"}),
        ("Report", {"progress": 101}),
        ("Report", {"replace": ["details"]}),
        ("Report", {"replace": ["labels"], "labels": {"k": None}}),
        ("Report", {"details": {"x": 2**54}}),
        ("Report", {"labels": {"a:b": "c"}}),
        ("NewJob", {"state": "succeeded"}),
        ("NewJob", {"id": ".."}),
        ("NewJob", {"workspace": "A"}),
        ("BulkLine", {"state": "running"}),
        ("Reports", []),
    ],
)
async def test_what_a_schema_refuses_the_gateway_refuses_too(
    tmp_path: Path, described: dict[str, Any], schema: str, value: Any
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        valid(value, schema, described)
    async with api(tmp_path) as client:
        await client.post("/v1/jobs", json={"id": "a"})
        if schema == "BulkLine":
            answer = await client.post("/v1/events", content=orjson.dumps(value), headers=NDJSON)
            assert orjson.loads(answer.content)["status"] == 400
        else:
            path = "/v1/jobs" if schema == "NewJob" else "/v1/jobs/a/events"
            assert (await client.post(path, json=value)).status_code == 400


# ---- schemathesis ----


async def schemathesis(url: str, *options: str) -> tuple[int, str]:
    """Its verdict on a running gateway, with the settings in schemathesis.toml.

    One worker: Python 3.11's ast module, which it uses, breaks now and then when two threads parse at once.
    """
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", f"{url}/openapi.json", "--workers", "1", "--continue-on-failure", "--no-color", *options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def judge(folder: Path, *options: str) -> None:
    async with served(folder) as at:
        status, output = await schemathesis(str(at.client.base_url).rstrip("/"), *options)
        assert status == 0, output
        assert (await at.client.get("/readyz")).status_code == 200
    asked = len(OPERATIONS) + len(("page", "health", "readiness"))  # it does not ask for the contract itself again
    assert f"Tested: {asked}\n" in output, output


async def test_schemathesis_finds_no_failure(tmp_path: Path) -> None:
    options = ("--phases", "coverage,fuzzing", "--max-examples", "3", "--generation-deterministic")
    await judge(tmp_path, *options)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_schemathesis_finds_no_failure_however_long_it_looks(tmp_path: Path) -> None:
    await judge(tmp_path, "--phases", "coverage,fuzzing", "--max-examples", "200")
