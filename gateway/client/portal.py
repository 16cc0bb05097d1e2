"""An event loop in a thread of its own, and the way into it from plain code."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any, Final, Generic, TypeVar

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
        steps = _Steps(items)
        try:
            while found := self.call(steps.next()):
                yield found[0]
        finally:
            if self.alive:
                self.call(steps.close())

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


class _Steps(Generic[T]):
    """An asynchronous generator, taken step by step from another thread."""

    def __init__(self, items: AsyncGenerator[T, None]) -> None:
        self._items = items
        self._running: asyncio.Task[object] | None = None

    async def next(self) -> tuple[T] | None:
        """The next item alone in a tuple, or None after the last."""
        self._running = asyncio.current_task()
        try:
            return (await anext(self._items),)
        except StopAsyncIteration:
            return None

    async def close(self) -> None:
        """Close the generator, though an interrupt may have come at a moment that left a step under way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        await self._items.aclose()
