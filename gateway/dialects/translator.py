"""What the dialects of other systems share: a table of words each, both directions, and rendering once for a record.

Law: `status` and `parse` are pure and look only at their arguments. What is rendered depends on the record and the form
alone; a member that depends on now is filled in for each answer, after the rendering.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from starlette.requests import Request

from gateway.dialects.base import Dialect
from gateway.errors import InvalidReport, JobNotFound
from gateway.eventlog.base import Standing
from gateway.job import Job
from gateway.record import Filter, alias_of
from gateway.report import Identity, Report, State
from gateway.service import Gateway
from gateway.values import DEFAULT_WORKSPACE, Json, parse_id, parse_workspace

RENDERED_BYTES: Final = 16 * 2**20  # of answers kept in each dialect; the newest of a few thousand jobs


class Translator(Dialect):
    """A dialect of another system. `words` says how each state is called there, `states` how each word that it uses,
    synonyms too, is read here."""

    words: ClassVar[Mapping[State, str]]
    states: ClassVar[Mapping[str, State]]

    def __init__(self) -> None:
        self._rendered: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._size = 0

    @abstractmethod
    def status(self, job: Job) -> Json:
        """The job's status as this system's own server would answer it, but for what depends on now."""

    @abstractmethod
    def parse(self, body: Json) -> tuple[Identity, Report]:
        """What this system's own status body says, as a report; rendered again it comes out as it went in.

        Raises InvalidReport, which names the field.
        """

    def word(self, state: State) -> str:
        """A state in this system's words."""
        return self.words[state]

    def read_word(self, word: Json, field: str = "status") -> State:
        """A state from this system's word. Raises InvalidReport."""
        state = self.states.get(word) if isinstance(word, str) else None
        if state is None:
            raise InvalidReport(f"{field} must be one of {', '.join(self.states)}", field=field)
        return state

    def rendered(self, job: Job, form: str, render: Callable[[Job], bytes]) -> bytes:
        """What `render` makes of the job, made once for each record and form, however many ask."""
        key = job.position, job.id, form
        found = self._rendered.get(key)
        if found is not None:
            self._rendered.move_to_end(key)
            return found
        data = self._rendered[key] = render(job)
        self._size += len(data)
        while self._size > RENDERED_BYTES and len(self._rendered) > 1:
            self._size -= len(self._rendered.popitem(last=False)[1])
        return data


def workspace_of(request: Request) -> str:
    """The workspace that the query names, or the default one. Raises InvalidReport."""
    value = request.query_params.get("workspace")
    return DEFAULT_WORKSPACE if value is None else parse_workspace(value)


async def job_of(gateway: Gateway, request: Request, name: str = "id") -> Standing:
    """The job whose id or alias stands in the path. Raises JobNotFound, JobDeleted, InvalidReport."""
    workspace, job_id = workspace_of(request), parse_id(request.path_params[name], name)
    return gateway.glance(workspace, job_id) or await gateway.standing(workspace, job_id)


async def newest_of_name(gateway: Gateway, workspace: str, name: str) -> Standing:
    """The newest job of that name in a workspace. Raises JobNotFound."""
    match = Filter(workspaces=frozenset([workspace]), names=frozenset([name]))
    page = await gateway.jobs(match, None, 1)
    if not page.standings:
        raise JobNotFound(f"there is no job named {name!r} in workspace {workspace!r}", job=name)
    return page.standings[0]


def uuid_of_job(job: Job) -> str:
    """The UUID under which dialects show the job."""
    return alias_of(job.workspace, job.id)
