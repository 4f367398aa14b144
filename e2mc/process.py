"""Processes by their numbers, which repeat between machines and in time."""

import ctypes
import os
import signal
import socket
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


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


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, or now if it has. Linux alone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
