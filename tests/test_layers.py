"""The house's order is held by reading the sources: who may import whom, and how large a room may grow.

A module imports only what stands above it in `LAYERS`. So there are no cycles, and each module can be read with nothing
but the ones above it in mind.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gateway"
MAX_MODULE = 300  # lines
MAX_FUNCTION = 40  # lines, its docstring not counted

LAYERS = (
    "gateway",  # the version, nothing else
    # the model
    "errors",
    "settings",
    "values",
    "ids",
    "report",
    "merge",
    "job",
    "record",
    # the log
    "eventlog",
    "eventlog.base",
    "eventlog.codec",
    "eventlog.schema",
    "eventlog.hot",
    "eventlog.known",
    "eventlog.queries",
    "eventlog.reading",
    "eventlog.glance",
    "eventlog.batch",
    "eventlog.statements",
    "eventlog.writer",
    "eventlog.retention",
    "eventlog.backup",
    "eventlog.sqlite",
    "eventlog.numbered",
    # the live path
    "plain",
    "frames",
    "group",
    "hub",
    "wanted",
    "catchup",
    "stream",
    "past",
    "leases",
    "service",
    # HTTP
    "dialects",
    "dialects.sse",
    "dialects.body",
    "dialects.base",
    "dialects.direct",
    "dialects.requests",
    "dialects.reading",
    "dialects.quick",
    "dialects.badge",
    "dialects.bulk",
    "dialects.writing",
    "dialects.canonical",
    "dialects.translator",
    "dialects.pipe",
    "dialects.julep",
    "dialects.praisonai_bodies",
    "dialects.praisonai",
    "dialects.weaver_forms",
    "dialects.weaver_body",
    "dialects.weaver_xml",
    "dialects.weaver_list",
    "dialects.weaver",
    "dialects.nemo_bodies",
    "dialects.nemo_filter",
    "dialects.nemo_lists",
    "dialects.nemo",
    "dialects.mcp_tools",
    "dialects.mcp_sdk",
    "dialects.mcp",
    "dialects.guard",
    "schemas",
    "openapi",
    "site",
    "process",
    "parked",
    "heads",
    "patience",
    "inside",
    "connection",
    "producer",
    "door",
    "server",
    "app",
    # what runs elsewhere
    "client.base",
    "client.transport",
    "client.watch",
    "client.outbox",
    "client.job",
    "client.aio",
    "client.portal",
    "client.sync",
    "client",
    "runner.progress",
    "runner.terminal",
    "runner.command",
    "runner.handler",
    "runner.life",
    "runner",
    # the command line
    "display",
    "using",
    "operating",
    "flags",
    "cli",
    "demo",
)
ELSEWHERE = ("client", "runner", "display", "using")  # started often, or in programs that have no use for a server
BY_NAME = {"__import__", "import_module", "importlib.import_module"}
SERVER_ONLY = {"aiosqlite", "httptools", "sse_starlette", "starlette", "uvicorn", "uvloop"}

# (module, what is too large or imported inside a function): the reason why it is right there.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("cli", "import_module"): "the server's libraries take long to import, and `run` and `report` start very often",
    ("dialects.mcp", "mcp_sdk"): "an optional extra, half a second and 35 MiB, which only those pay who use it",
}


def modules() -> Iterator[tuple[str, str]]:
    """Name within the package, and source, of every module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "gateway", path.read_text(encoding="utf-8")


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Full name and line of each module that is imported anywhere in the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno
            if node.module in {f"gateway.{name}" for name in ("eventlog", "dialects")} | {"gateway"}:
                # `from gateway import frames` imports the module, and `from gateway import __version__` does not
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def top(name: str) -> str:
    """The first part of a dotted name."""
    return name.partition(".")[0]


def upward(name: str, source: str) -> list[str]:
    """What the module imports although it does not stand above it."""
    found = []
    for target, line in imported(ast.parse(source)):
        short = target.removeprefix("gateway.")
        if target.startswith("."):
            found.append(f"{name}:{line} imports {target}: write the full name")
        elif top(target) == "gateway" and short in LAYERS and LAYERS.index(short) >= LAYERS.index(name):
            found.append(f"{name}:{line} imports {short}, which stands below it")
    return found


def hidden(name: str, source: str) -> list[str]:
    """Imports inside functions, also those by a name that is made there."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [f"{name}:{line} imports {target} inside {node.name}" for target, line in imported(node)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in BY_NAME:
            found.append(f"{name}:{node.lineno} imports by {ast.unparse(node.func)}")
    return found


def too_large(name: str, source: str) -> list[str]:
    """Modules and functions that have outgrown the house."""
    lines = source.count("\n")
    found = [f"{name}: {lines} lines, {MAX_MODULE} are the most"] if lines > MAX_MODULE else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
            if lines > MAX_FUNCTION:
                found.append(f"{name}:{node.lineno} {node.name}: {lines} lines, {MAX_FUNCTION} are the most")
    return found


def outside(name: str, source: str) -> list[str]:
    """What a module that runs elsewhere imports although it belongs to the server."""
    if top(name) not in ELSEWHERE:
        return []
    servers = {layer for layer in LAYERS if top(layer) not in {"gateway", "errors", "plain", *ELSEWHERE}}
    return [
        f"{name}:{line} imports {target}, which belongs to the server"
        for target, line in imported(ast.parse(source))
        if top(target) in SERVER_ONLY or (top(target) == "gateway" and target.removeprefix("gateway.") in servers)
    ]


def private(name: str, source: str) -> list[str]:
    """Imports of uvicorn's modules, which are its inside, elsewhere than in the one module for that."""
    return [
        f"{name}:{line} imports {target}, which is for inside.py alone"
        for target, line in imported(ast.parse(source))
        if target.startswith("uvicorn.") and name != "inside"
    ]


@pytest.mark.parametrize("rule", [upward, hidden, too_large, outside, private], ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: object) -> None:
    assert callable(rule)
    found = [line for name, source in modules() if name in LAYERS for line in rule(name, source)]
    left = [line for line in found if not any(f"{name}:" in line and what in line for name, what in EXCEPTIONS)]
    assert not left, "\n" + "\n".join(left)


def test_every_module_has_its_place_in_the_order() -> None:
    found = {name for name, _ in modules()}
    assert found == set(LAYERS), f"without a place: {found - set(LAYERS)}; gone: {set(LAYERS) - found}"
    assert len(LAYERS) == len(set(LAYERS))


def test_every_exception_is_still_needed() -> None:
    found = [line for name, source in modules() for rule in (hidden, too_large) for line in rule(name, source)]
    for name, what in EXCEPTIONS:
        assert any(f"{name}:" in line and what in line for line in found), f"{name} {what} is no exception any more"


def test_the_rules_catch_what_they_forbid() -> None:
    assert upward("report", "from gateway.job import Job\n") == ["report:1 imports job, which stands below it"]
    assert upward("report", "from gateway import hub\n") == ["report:1 imports hub, which stands below it"]
    assert upward("report", "import gateway.report\n") == ["report:1 imports report, which stands below it"]
    assert upward("report", "from .job import Job\n") == ["report:1 imports .job: write the full name"]
    assert not upward("report", "from gateway import __version__\nfrom gateway.errors import TooLarge\nimport enum\n")
    assert hidden("job", "async def f():\n    import time\n") == ["job:2 imports time inside f"]
    assert hidden("job", "import importlib\nimportlib.import_module('time')\n") == [
        "job:2 imports by importlib.import_module"
    ]
    assert too_large("job", "x = 1\n" * 301)
    assert too_large("job", "def f():\n" + "    x = 1\n" * 40) == ["job:1 f: 41 lines, 40 are the most"]
    assert not too_large("job", 'def f():\n    """Long."""\n' + "    x = 1\n" * 39)
    assert outside("client.base", "import starlette.requests\n")
    assert private("server", "from uvicorn.config import Config\n")
    assert not private("server", "import uvicorn\n")
    assert not private("inside", "from uvicorn.config import Config\n")
    assert outside("runner.life", "from gateway.job import Job\n")
    assert not outside(
        "runner.life", "from gateway import __version__\nfrom gateway.client.base import Job\nimport httpx\n"
    )


@pytest.mark.parametrize("module", ["gateway.client", "gateway.runner", "gateway.using", "gateway.cli"])
def test_what_runs_elsewhere_loads_no_part_of_the_server(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({SERVER_ONLY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == ""
