"""The parts of the README that are made from the code: `python -m tests.readme` writes them anew.

Each stands between a pair of comments, `<!-- NAME -->` and `<!-- /NAME -->`; test_docs.py holds them equal to the code.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.job import TRANSITIONS
from gateway.report import State
from gateway.settings import FIELDS, shown

README = Path(__file__).parent.parent / "README.md"
WORKING = "working"  # the group of states in the diagram that are neither wishes to cancel, nor unknown, nor terminal


def states() -> Iterator[str]:
    """The state machine as a diagram and, exactly, as a table."""
    terminal = [state for state in State if not TRANSITIONS[state]]
    apart = {State.CANCELLING, State.UNKNOWN, *terminal}
    inner = [state for state in State if state not in apart]
    shared = [target for target in State if all(target in TRANSITIONS[state] for state in inner)]
    yield from ("```mermaid", "stateDiagram-v2", f"    state {WORKING} {{")
    for state in inner:
        yield from (f"        {state} --> {target}" for target in TRANSITIONS[state] if target not in shared)
    yield "    }"
    yield from (f"    {WORKING} --> {target}" for target in shared)
    for state in (State.CANCELLING, State.UNKNOWN):
        yield from (f"    {state} --> {target}" for target in TRANSITIONS[state])
    yield from (f"    {state} --> [*]" for state in terminal)
    yield from ("```", "", "| state | may become |", "| --- | --- |")
    for state in State:
        yield f"| `{state}` | {', '.join(f'`{target}`' for target in TRANSITIONS[state]) or 'nothing: it is the end'} |"


def settings() -> Iterator[str]:
    """Every setting with its default."""
    yield from ("| setting | default | meaning |", "| --- | --- | --- |")
    for name, item in FIELDS.items():
        default = {"True": "yes", "False": "no", "()": "none"}.get(str(item.default), shown(item.default))
        yield f"| `{name}` | {default} | {item.metadata['help']} |"


def figures() -> Iterator[str]:
    """What the last committed run of `make bench` has measured."""
    yield from (README.parent / "tests" / "bench" / "results.md").read_text(encoding="utf-8").strip().splitlines()


PARTS: dict[str, Callable[[], Iterator[str]]] = {"states": states, "settings": settings, "figures": figures}


def renewed(text: str) -> str:
    """The README with all its made parts made anew."""
    for name, make in PARTS.items():
        part = f"<!-- {name} -->\n" + "\n".join(make()) + f"\n<!-- /{name} -->"
        before, begin, rest = text.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not begin or not end:
            raise ValueError(f"the README has no pair of comments <!-- {name} --> and <!-- /{name} -->")
        text = before + part + after
    return text


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
