"""Programs that run beside the bench: started on one core, with a port of their own, and stopped whatever
happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

Word = str | Path
"""A word of a command line."""

STOP_SECONDS = 5.0
START_SECONDS = 20.0


class BenchError(Exception):
    """The bench cannot go on; the message says why and what to do."""


def pinned(core: int | None) -> Callable[[], None] | None:
    """What a child calls before it becomes the program, so that it and all that it starts stay on `core`."""
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


class Port:
    """A port of 127.0.0.1 that the kernel chose and that nobody else gets: only who shares it may listen on
    it."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def __str__(self) -> str:
        return str(self.number)

    def release(self) -> None:
        """Gives the port up, for a program that does not share it."""
        self._socket.close()


def accepts(port: Port) -> bool:
    """Whether somebody listens on `port`."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port.number)) == 0


class Processes:
    """Every program that was started. Leaving the block stops them all, with what they started themselves."""

    def __init__(self, log_directory: Path) -> None:
        self._logs = log_directory
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[Word],
        core: int | None,
        ports: Sequence[Port] = (),
        environment: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> int:
        """Starts `command` and waits until it listens on all `ports`. Its process id, which is its session's
        too."""
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            try:
                child = subprocess.Popen(
                    [str(word) for word in command],
                    stdin=stdin,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **(environment or {})},
                    start_new_session=True,
                    preexec_fn=pinned(core),
                )
            except OSError as error:
                raise BenchError(f"`{command[0]}` does not start: {error}") from error
        self._running.append((name, child))
        deadline = time.monotonic() + START_SECONDS
        for port in ports:
            while not accepts(port):
                if child.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"{name} does not listen; it said:\n{tail(log)}")
                time.sleep(0.02)
        return child.pid

    def end(self, name: str, seconds: float) -> int:
        """Asks one program to end, and gives its exit code."""
        child = next(child for known, child in self._running if known == name)
        self._running.remove((name, child))
        child.send_signal(signal.SIGTERM)
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{name} does not end within {seconds:.0f} s") from error
        finally:
            signal_group(child.pid, signal.SIGKILL)
            child.wait()

    def check(self) -> None:
        """Fails where one of the programs has ended."""
        for name, child in self._running:
            if child.poll() is not None:
                raise BenchError(f"{name} ended with {child.returncode}:\n{tail(self._logs / f'{name}.log')}")

    def stop(self) -> None:
        """Asks all to end, then makes them. Calling it again does nothing."""
        running, self._running = self._running, []
        for _, child in running:
            signal_group(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for _, child in running:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            signal_group(child.pid, signal.SIGKILL)
            child.wait()


def end_on_signals() -> None:
    """Makes the first signal that asks to end a `KeyboardInterrupt`; further ones do not disturb the cleaning up."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, stop)


def signal_group(leader: int, number: signal.Signals) -> None:
    """Sends a signal to a process and to all in its group; where they are gone, nothing."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        pass


def tail(log: Path, lines: int = 12) -> str:
    """The end of a program's output."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def run(
    command: Sequence[Word], core: int | None, seconds: float = 300.0, **options: object
) -> subprocess.CompletedProcess[str]:
    """Runs a client to its end on `core`, in a group that ends with it, and gives what it printed."""
    child = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=pinned(core),
        **options,  # type: ignore[call-overload]
    )
    try:
        stdout, stderr = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"`{command[0]}` took longer than {seconds:.0f} s") from error
    finally:
        signal_group(child.pid, signal.SIGKILL)
        child.wait()
    return subprocess.CompletedProcess(list(map(str, command)), child.returncode, stdout, stderr)
