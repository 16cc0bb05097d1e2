"""An event loop in a thread of its own, and the way into it from plain code."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any, Final, TypeVar

PATIENCE: Final = 2.0  # seconds for an interrupted call to end
T = TypeVar("T")


class Portal:
    """An event loop in a daemon thread, and the way into it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="status-gateway client", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs in this process: a fork takes no threads along."""
        return os.getpid() == self._process and not self._loop.is_closed()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that runs there; an interrupt of the wait here cancels it."""
        if not self.alive:
            work.close()
            raise RuntimeError("this SyncClient is closed, or was made before a fork; make a new one in this process")
        ended = threading.Event()
        future = asyncio.run_coroutine_threadsafe(_watched(work, ended), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            ended.wait(PATIENCE)  # what was interrupted may hold what the caller's clean-up needs
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """The items of an asynchronous generator, which is closed when the iteration ends, however it ends."""
        try:
            while found := self.call(_next(items)):
                yield found[0]
        finally:
            if self.alive:
                self.call(_close(items))

    def close(self) -> None:
        """End the thread, and whatever an interrupt left unfinished there."""
        self.call(_tidy())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _watched(work: Coroutine[Any, Any, T], ended: threading.Event) -> T:
    try:
        return await work
    finally:
        ended.set()


async def _tidy() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


async def _next(items: AsyncGenerator[T, None]) -> tuple[T] | None:
    """The next item alone in a tuple, or None after the last."""
    try:
        return (await anext(items),)
    except StopAsyncIteration:
        return None


async def _close(items: AsyncGenerator[T, None]) -> None:
    await items.aclose()
