"""What the README and the changelog say is so: routes, states, settings, commands, and the examples, which are run."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from gateway import __version__, frames
from gateway.cli import ACTIONS, parser
from gateway.report import REPORT_MEMBERS, State
from gateway.settings import FIELDS
from tests.processes import Server, environment, run_cli, serving
from tests.readme import README, renewed

ROOT = README.parent
TEXT = README.read_text(encoding="utf-8")
URL = "http://127.0.0.1:8000"  # as in the examples


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("docs") / "status.db") as found:
        yield found


def section(title: str) -> str:
    """The text under a heading, up to the next one of its rank or above."""
    found = re.search(rf"^{re.escape(title)}\n(.*?)(?=^#{{1,{title.count('#')}}} |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no heading {title!r}"
    return found[1]


def first_cells(text: str) -> list[str]:
    """What stands in backticks at the beginning of each row of the tables."""
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def blocks(language: str) -> list[str]:
    """The examples in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_tables_of_states_and_settings_are_those_of_the_code() -> None:
    assert renewed(TEXT) == TEXT, "they were changed: run python -m tests.readme"
    assert set(first_cells(section("### States"))) == set(State)
    assert first_cells(section("## Settings")) == list(FIELDS)


def test_a_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="<!-- states -->"):
        renewed(TEXT.replace("<!-- states -->", ""))


def test_every_route_stands_in_the_readme_and_every_route_there_exists(server: Server) -> None:
    paths: Mapping[str, Mapping[str, Any]] = httpx.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(first_cells(section("## HTTP"))) - set(first_cells(section("### Streams"))) == served


def test_every_event_of_a_stream_stands_in_the_readme() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    told = first_cells(section("### Streams"))
    for event in told:
        assert f'"{event}"' in sources, f"{event} is told of but never sent"
    sent = [name for name in ("snapshot", "sync", "reset", "busy", "end") if callable(getattr(frames, name))]
    assert set(told) == {*sent, "transition", "progress", "deleted"}


def test_every_member_of_a_report_stands_in_the_readme() -> None:
    (row,) = re.findall(r"^\| report \|(.*)", TEXT, re.MULTILINE)
    assert set(re.findall("`([^`]+)`", row)) == set(REPORT_MEMBERS)


def test_every_command_stands_in_the_readme() -> None:
    told = [cell.split()[1] for cell in first_cells(section("## Command line"))]
    assert sorted(told) == sorted(ACTIONS)
    helps = " ".join(run_cli(command, "--help").stdout.decode() for command in ("report", "backup", "status"))
    for flag in re.findall(r"`(--[a-z-]+)", section("## Command line")):
        assert flag in helps
    assert parser().prog == "status-gateway"


def test_every_target_of_make_that_the_readme_names_exists_and_every_target_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*?## \S", makefile, re.MULTILINE))
    assert targets == {"help", "run", "test", "check", "bench", "soak", "screenshots", "machine", "clean"}
    phony = re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == targets
    assert set(re.findall(r"\bmake ([a-z]+)\b(?= +#|`)", TEXT)) <= targets
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
    assert set(re.findall(r"^  make ([a-z]+)", listed, re.MULTILINE)) == targets


def test_the_newest_release_in_the_changelog_is_this_version() -> None:
    released = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released[0] == __version__


def test_the_files_that_the_readme_links_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).is_file(), target


def curl(line: str, url: str) -> httpx.Response:
    """What a curl line of the README asks for; of curl's flags it knows -N, -H and -d."""
    words = iter(shlex.split(line.replace(URL, url))[1:])
    address, headers, body = "", {}, None
    for word in words:
        if word == "-H":
            name, _, headers_value = next(words).partition(": ")
            headers[name] = headers_value
        elif word == "-d":
            body = next(words)
        elif word != "-N":
            address = word
    return httpx.request("POST" if body else "GET", address, headers=headers, content=body, timeout=60)


def test_the_lines_of_curl_show_a_job_from_its_beginning_to_its_end(server: Server) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("curl ")]
    answers = [curl(line, server.url) for line in lines]
    assert [answer.status_code for answer in answers] == [201, 201, 200, 201, 200]
    assert answers[2].json()["progress"] == 45
    assert answers[2].json()["message"] == "step 2 of 4"
    events = re.findall(r"^event: (.*)", answers[4].text, re.MULTILINE)
    assert [event for event in events if event != "sync"] == ["transition", "progress", "transition", "end"]


def run_python(code: str, server: Server, folder: Path) -> str:
    """What an example prints."""
    command = [sys.executable, "-W", "error", "-c", code.replace(URL, server.url)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=folder, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_of_the_client_report_and_watch_a_job(server: Server, tmp_path: Path) -> None:
    asynchronous, synchronous, _ = blocks("python")
    assert run_python(asynchronous, server, tmp_path) == "succeeded 100.0\n"
    run_python(synchronous, server, tmp_path)
    jobs = httpx.get(f"{server.url}/v1/jobs", params={"name": "tiles"}, timeout=60).json()["jobs"]
    assert [(job["state"], job["message"]) for job in jobs] == [("succeeded", "step 2 of 4")] * 2


async def test_the_example_of_an_own_app_serves_the_gateway_under_its_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(compile(blocks("python")[2], "README.md", "exec"), scope)
    app = scope["app"]
    assert isinstance(app, Starlette)
    assert isinstance(app.routes[0], Mount)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        made = await client.post("/status/v1/jobs", json={"id": "a"})
        assert made.headers["Location"].startswith("/status/v1/jobs/a")
        assert (await client.get(made.headers["Location"])).content == made.content
        assert (await client.get("/status/")).status_code == 200
    assert (tmp_path / "jobs.db").is_file()


def test_the_page_says_only_text_and_loads_only_its_own_files() -> None:
    page = (ROOT / "static" / "index.html").read_text(encoding="utf-8")
    for path in (ROOT / "static").rglob("*.js"):
        script = path.read_text(encoding="utf-8")
        found = re.findall(r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b", script)
        assert not found, f"{path.name}: {found}"
        for target in re.findall(r'^(?:import|export) [^;"]*from "([^"]+)";', script, re.MULTILINE):
            assert target.startswith("."), f"{path.name} imports {target}"
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son[a-z]+=|\sstyle=|<style", page), (
        "its policy lets no inline code run"
    )
    for target in re.findall(r'(?:src|href)="([^"]+)"', page):
        own = target.startswith("static/") and (ROOT / target).is_file()
        assert own or target in ("v1/jobs", "?") or target.startswith("#"), target


def test_every_kind_of_event_is_handled_by_the_browsers_client() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "static" / "client").glob("*.js"))
    assert not {kind for kind in first_cells(section("### Streams")) if f'"{kind}"' not in code}


def test_what_the_documents_are_made_of_is_valid_json() -> None:
    for body in re.findall(r"-d '([^']+)'", TEXT):
        orjson.loads(body)
