"""Fixtures that several files share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.logs import BOOKS, Logbook


@pytest.fixture(params=sorted(BOOKS))
async def book(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Logbook]:
    """An empty log, open and written, of each implementation."""
    async with BOOKS[request.param](tmp_path) as book:
        yield book
