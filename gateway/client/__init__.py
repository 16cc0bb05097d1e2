"""The Python client: `Client` on asyncio and `SyncClient` without, for producers and readers of jobs.

It needs httpx, httpx-sse and orjson, and nothing of the server.
"""

from gateway.client.aio import Client
from gateway.client.base import Document, Entry, JobCancelled, ProblemError, State, Unreachable
from gateway.client.job import JobScope
from gateway.client.sync import SyncClient, SyncJob
from gateway.client.watch import Event

__all__ = [
    "Client",
    "Document",
    "Entry",
    "Event",
    "JobCancelled",
    "JobScope",
    "ProblemError",
    "State",
    "SyncClient",
    "SyncJob",
    "Unreachable",
]
