"""Processes by their numbers, which repeat between machines and in time."""

import os
import socket
from pathlib import Path


def machine() -> str:
    """Host, and the process namespace: containers may share a host's name but not its pids."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def exists(pid: int) -> bool:
    """Whether a process of this machine has the number, be it ours or another user's."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def start_ticks(pid: int) -> str | None:
    """Start of a process in clock ticks since boot; None where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
