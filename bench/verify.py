"""Whether each program does what it should, asked before anything is measured: a benchmark of error answers
says nothing."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.request
from collections.abc import Callable

from cases import authorization, path_of
from configurations import REST_BODY
from processes import BenchError
from stage import Running, Stage

SECONDS = 10.0


def ask(stage: Stage, running: Running, path: str, token: str | None, tls: bool = False) -> tuple[int, str]:
    """Status and body of one request."""
    connection: http.client.HTTPConnection
    if tls and running.tls:
        context = ssl.create_default_context(cafile=str(stage.certificate))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", running.tls.number, timeout=SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", running.plain.number, timeout=SECONDS)
    headers = dict([authorization(token).split(": ", 1)]) if token else {}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{running.program.name} does not answer: {error}") from error
    finally:
        connection.close()


def verify(stage: Stage, running: Running) -> None:
    """Fails where the program does not let pass what it should, or does not refuse what it should."""
    name, checks = running.program.name, running.program.check

    def expect(what: str, got: tuple[int, str], statuses: set[int], body: str | None = None) -> None:
        if got[0] not in statuses or (body is not None and got[1] != body):
            raise BenchError(f"{name}: {what} was answered {got[0]} {got[1][:200]!r}")

    if not running.sessions:
        return
    for number in (0, 1, len(stage.tokens) - 1):
        text = stage.tokens[number].text
        expect("a permitted request", ask(stage, running, path_of(number), text), {200}, REST_BODY)
    if running.tls:
        answer = ask(stage, running, path_of(0), stage.tokens[0].text, tls=True)
        expect("a permitted request over TLS", answer, {200}, REST_BODY)
    if "token" in checks:
        expect("an unknown token", ask(stage, running, path_of(0), stage.unknown.text), {401, 403})
        expect("a request without a token", ask(stage, running, path_of(0), None), {401, 403})
    if "repository" in checks:
        other = ask(stage, running, path_of(1), stage.tokens[0].text)
        expect("a token for another repository", other, {401, 403, 404})


class Audit:
    """The audit log of a gateway: holds the lines against the requests that a client counted."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._before = self._lines()

    def _lines(self) -> tuple[int, int]:
        """Lines written, and lines lost, as the gateway counts them."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self._running.control}/metrics", timeout=SECONDS
        ) as answer:
            text = answer.read().decode()
        return metric(text, "portcullis_audit_lines_total"), metric(text, "portcullis_audit_dropped_total")

    def check(self, requests: int, connections: int) -> None:
        """Fails unless there is one line for each request; those under way when the client left may add
        some."""
        reached = until(lambda: self._lines()[0] - self._before[0] >= requests)
        lines, lost = (now - before for now, before in zip(self._lines(), self._before, strict=True))
        if lost:
            raise BenchError(f"{lost} audit lines were lost during {requests} requests")
        if not reached or lines > requests + connections:
            raise BenchError(f"{lines} audit lines for {requests} requests")
        audit = self._running.audit
        if audit is not None:
            with audit.open("rb") as file:
                written = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
            if written < requests:
                raise BenchError(f"{written} lines in the audit log for {requests} requests")
            audit.open("wb").close()


def metric(text: str, name: str) -> int:
    """The value of a metric without labels."""
    for line in text.splitlines():
        if line.startswith(f"{name} "):
            return int(float(line.split()[1]))
    raise BenchError(f"no metric `{name}`")


def until(done: Callable[[], bool]) -> bool:
    """Waits until something is so, for at most `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
