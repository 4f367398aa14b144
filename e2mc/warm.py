"""Jobs as copies of a process that has imported everything once.

Most jobs of a small experiment take less time than `import torch`. With `E2MC_WARM=1` the head
starts a server that imports what stages need and then waits; the command `e2mc` asks it for a copy
of itself (`fork`), which does the work, and stays as its stand-in: it passes signals on and ends as
the copy ends. The copy has the command's arguments, folder, environment, open files and umask.
Where anything is amiss before the work has begun, the command does it itself, as without a server.

A copy dies with its stand-in and with the server; the server ends when its head is gone and all
copies are done. Linux alone.
"""

import atexit
import gc
import io
import json
import os
import pkgutil
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from selectors import EVENT_READ, BaseSelector, DefaultSelector
from typing import Any, NamedTuple

from e2mc.process import end_with_parent

WANTED = "E2MC_WARM"
"""Environment variable that asks for a server."""
_ADDRESS = "E2MC_SERVER"
_STAGES = ("e2mc.training", "e2mc.evaluation", "e2mc.reporting")

_LIBRARIES = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")
THREADS = {f"{library}_NUM_THREADS": "1" for library in _LIBRARIES} | {
    "VECLIB_MAXIMUM_THREADS": "1"
}
"""What Snakemake sets for jobs of one thread; imports read it."""
_OF_NO_CONSEQUENCE = {_ADDRESS, "PATH", "PWD", "OLDPWD", "SHLVL", "_"}
_OF_NO_CONSEQUENCE |= {"TMP", "TMPDIR", "TEMP", "TEMPDIR"}
"""Variables that nothing reads while it is imported. All others must be those of the server."""

_PASSED_ON = tuple(
    getattr(signal, f"SIG{name}") for name in ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"]
)
_LONGEST = 1 << 17


class Server(NamedTuple):
    """What the head keeps of its server."""

    process: subprocess.Popen[bytes]
    folder: str

    def end(self) -> None:
        """Let the server end as soon as no copy is at work, as is the rule when a head ends."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


def start() -> Server:
    """Start a server for the commands that this process will start, directly or not.

    Only this user can reach its socket. It answers when it has imported everything; until then
    commands wait for it.
    """
    folder = tempfile.mkdtemp(prefix="e2mc-")
    address = f"{folder}/socket"
    environment = {**os.environ, **THREADS}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(1024)
        number = listener.fileno()
        command = [sys.executable, "-m", "e2mc", "serve", str(number)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=environment, pass_fds=[number]
        )
    os.environ[_ADDRESS] = address
    return Server(process, folder)


def run_there(arguments: Sequence[str]) -> int | None:
    """Have the server's copy run a command of `e2mc`, if there is a server.

    Returns:
        Its exit status; None: nothing has been run.
    """
    address = os.environ.get(_ADDRESS)
    if address is None:
        return None
    ignored = [number for number in _PASSED_ON if signal.getsignal(number) == signal.SIG_IGN]
    umask = os.umask(0)
    os.umask(umask)
    request = {
        "arguments": list(arguments),
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
        "prefix": os.path.realpath(sys.prefix),
        "umask": umask,
        "ignored": ignored,
    }
    heard = [number for number in _PASSED_ON if number not in ignored]
    signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
            server.connect(address)
            socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
            if not server.recv(1):
                return None
            return _stand_in(server, heard)
    except OSError:
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)


def _stand_in(server: socket.socket, heard: Iterable[int]) -> int:
    """Pass signals on and wait; end as the copy has ended."""

    def pass_on(number: int, frame: object) -> None:
        server.send(bytes([number]))

    for number in heard:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)
    try:
        status = int(server.recv(16) or signal.SIGKILL)
    except OSError:
        status = signal.SIGKILL
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


class _Copy(NamedTuple):
    """A copy that is at work for a stand-in."""

    pid: int
    pidfd: int
    connection: socket.socket


def serve(listener_number: int) -> list[str] | None:
    """Be the server, until standard input is closed and all copies are done.

    Returns:
        In each copy, what it is to run; in the server, at the end, None.

    Raises:
        SystemExit: an import has started threads, which a copy would not have.
    """
    begun_with = dict(os.environ)
    _import_stages()
    added = {key: value for key, value in os.environ.items() if key not in begun_with}
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        sys.exit("e2mc serve: imports have started threads, so every job imports for itself")
    gc.freeze()
    for number in _PASSED_ON:
        signal.signal(number, signal.SIG_IGN)
    listener = socket.socket(fileno=listener_number)
    head = sys.stdin.fileno()
    with DefaultSelector() as selector:
        selector.register(listener, EVENT_READ)
        selector.register(head, EVENT_READ)
        while selector.get_map().keys() - {listener_number}:
            for key, _ in selector.select():
                if key.fd == listener_number:
                    request = _answer(listener, selector, begun_with)
                    if request is not None:
                        request["environment"] |= added
                        return _become(request, listener, selector)
                elif key.fd == head:
                    selector.unregister(head)
                elif selector.get_map().get(key.fd) is key:
                    _hear(key.data, key.fd, selector)
    shutil.rmtree(Path(listener.getsockname()).parent, ignore_errors=True)
    return None


def _import_stages() -> None:
    for package in map(import_module, _STAGES):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)


def _answer(
    listener: socket.socket, selector: BaseSelector, environment: Mapping[str, str]
) -> dict[str, Any] | None:
    """Make a copy for whoever calls; the request in the copy, None in the server."""
    connection, _ = listener.accept()
    connection.settimeout(10)
    try:
        message, files, _, _ = socket.recv_fds(connection, _LONGEST, 3)
        request: dict[str, Any] = json.loads(message)
    except (OSError, ValueError):
        connection.close()
        return None
    same = request["prefix"] == os.path.realpath(sys.prefix)
    if not same or _seen(request["environment"]) != _seen(environment):
        pid = -1
    else:
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            # A group of its own: a signal to the stand-in's reaches the copy once, through the
            # stand-in. The server asks for it too: it may have to kill the group before the copy
            # has run.
            os.setpgid(0, 0)
            end_with_parent(server)
            return {**request, "files": files}
        os.setpgid(pid, pid)
    for number in files:
        os.close(number)
    if pid < 0:
        connection.close()
        return None
    connection.settimeout(None)
    copy = _Copy(pid, os.pidfd_open(pid), connection)
    selector.register(copy.pidfd, EVENT_READ, copy)
    selector.register(connection, EVENT_READ, copy)
    with suppress(OSError):
        connection.send(b"+")
    return None


def _seen(environment: Mapping[str, str]) -> dict[str, str]:
    """What an import may have seen of an environment."""
    return {key: environment[key] for key in environment.keys() - _OF_NO_CONSEQUENCE}


def _hear(copy: _Copy, number: int, selector: BaseSelector) -> None:
    """A copy has ended, or its stand-in passes a signal on or is gone."""
    if number != copy.pidfd:
        try:
            message = copy.connection.recv(1)
        except OSError:
            message = b""
        if message:
            os.kill(copy.pid, message[0])
            return
        with suppress(ProcessLookupError):
            os.killpg(copy.pid, signal.SIGKILL)
    _, status = os.waitpid(copy.pid, 0)
    with suppress(OSError):
        copy.connection.send(str(status).encode())
    selector.unregister(copy.pidfd)
    selector.unregister(copy.connection)
    os.close(copy.pidfd)
    copy.connection.close()


def _become(
    request: Mapping[str, Any], listener: socket.socket, selector: BaseSelector
) -> list[str]:
    """In a copy: be what the command would have been; nothing of the server is left."""
    for target, number in enumerate(request["files"]):
        os.dup2(number, target)
        os.close(number)
    listener.close()
    for copy in {key.data for key in selector.get_map().values() if key.data}:
        os.close(copy.pidfd)
        copy.connection.close()
    for number in _PASSED_ON:
        if number not in request["ignored"]:
            signal.signal(number, signal.SIG_DFL)
    if signal.SIGINT not in request["ignored"]:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    os.umask(request["umask"])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
    arguments: list[str] = request["arguments"]
    sys.argv[1:] = arguments
    return arguments


def leave() -> None:
    """End a copy that has succeeded, without taking down module after module.

    That would touch, and so copy, most of the server's memory, which takes half a second.
    """
    if threading.active_count() == 1:
        atexit._run_exitfuncs()  # as multiprocessing ends its own copies
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
