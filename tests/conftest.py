"""Fixtures that several files share."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.logs import BOOKS, Logbook
from tests.servers import OURS, SERVERS


@pytest.fixture(params=sorted(BOOKS))
async def book(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Logbook]:
    """An empty log, open and written, of each implementation."""
    async with BOOKS[request.param](tmp_path) as book:
        yield book


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under other servers than ours each test of the contract runs with its first case; `make soak` runs them all."""
    seen = set()
    for item in items:
        under = item.callspec.params.get("under", OURS) if hasattr(item, "callspec") else OURS
        if under != OURS:
            case = (item.parent, getattr(item, "originalname", None), under)
            if case in seen:
                item.add_marker(pytest.mark.soak)
            seen.add(case)


@pytest.fixture(params=SERVERS)
def under(request: pytest.FixtureRequest) -> str:
    """Each server that the gateway is tried under, in turn."""
    return str(request.param)


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis looks at the same examples at every run, but for `make soak`, which looks for new ones: what fails is
    then always something that was changed. How long an example takes says nothing on a machine that is shared.

    Whoever starts the tests in the background has signals ignored, and what is started here would inherit that.
    """
    anew = config.getoption("markexpr") == "soak"
    settings.register_profile(
        "gateway", derandomize=not anew, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("gateway")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
