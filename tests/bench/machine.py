"""What is read of the machine: CPU time and memory of processes, buffers of the kernel, versions.

CPU time is that of a process's own clock, in nanoseconds and with the time of threads that have ended; the ticks of
/proc/PID/stat are too coarse for the shorter runs.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
PRIORITY: Final = -15  # so that other work on the machine disturbs less; only root may ask for it
_CPU_CLOCK: Final = 2  # CPUCLOCK_SCHED of the kernel's per-process clocks
PACKAGES: Final = ("uvicorn", "uvloop", "httptools", "starlette", "sse-starlette", "aiosqlite", "orjson")


def pinned(cpu: int, command: Sequence[str]) -> list[str]:
    """The command, bound to one CPU where the machine has two and knows taskset."""
    can = (os.cpu_count() or 1) > 1 and shutil.which("taskset")
    return ["taskset", "-c", str(cpu), *command] if can else [*command]


def prefer() -> bool:
    """Keep this process away from the server's CPU, and give it and all it starts a higher priority; whether the latter
    was permitted."""
    if pinned(LOAD_CPU, [])[:1] == ["taskset"]:
        os.sched_setaffinity(0, {LOAD_CPU})
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        return True
    return False


def family(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, queue = [], [root]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of the processes so far."""
    return sum(time.clock_gettime_ns((~pid << 3) | _CPU_CLOCK) for pid in pids) / 1e9


def memory_kib(pids: Sequence[int]) -> float:
    """Resident memory, shared pages by their part."""
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids)


def resident_mib(pids: Sequence[int], *, peak: bool = False) -> float:
    """Resident memory as `top` shows it, or the most there ever was."""
    return sum(_field(Path(f"/proc/{pid}/status"), "VmHWM" if peak else "VmRSS") for pid in pids) / 1024


def _field(file: Path, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    return float(found[1]) if found else 0.0


def kernel_kib(port: int) -> float:
    """What the kernel keeps for the connections of a server's port, on the server's side: `ss`, or else all of TCP."""
    if shutil.which("ss"):
        command = ["ss", "--tcp", "--memory", "--no-header", "--numeric", f"sport = :{port}"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        fields = re.findall(r"skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+)", listed)
        return sum(int(number) for found in fields for number in found) / 1024
    found = re.search(r"^TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * os.sysconf("SC_PAGE_SIZE") / 1024 if found else 0.0


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def about(preferred: bool) -> dict[str, str | int | bool]:
    """The machine's size and the versions of what takes part; no names, no addresses, no paths."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr if has_nginx() else ""
    return {
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "nginx": nginx.rpartition("/")[2].strip() or "absent",
        **{name: version(name) for name in PACKAGES},
        "priority_raised": preferred,
        "pinned": pinned(SERVER_CPU, [])[:1] == ["taskset"],
    }


def has_nginx() -> bool:
    """Whether nginx is here with its push module."""
    return shutil.which("nginx") is not None and nchan_module() is not None


def nchan_module() -> Path | None:
    """The push module, where distributions put it."""
    places = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules", "/etc/nginx/modules")
    return next((file for place in places if (file := Path(place) / "ngx_nchan_module.so").exists()), None)
