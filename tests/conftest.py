"""Fixtures that several files share."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.logs import BOOKS, Logbook


@pytest.fixture(params=sorted(BOOKS))
async def book(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Logbook]:
    """An empty log, open and written, of each implementation."""
    async with BOOKS[request.param](tmp_path) as book:
        yield book


def pytest_configure() -> None:
    """Whoever starts the tests in the background has signals ignored, and what is started here would inherit that."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
