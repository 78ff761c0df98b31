"""What is measured: the cases, each with the programs that it makes sense for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import load
from load import Load
from processes import BenchError
from stage import Running, Stage

SCRIPTS = Path(__file__).parent / "scripts"
EVERY = ("portcullis", "nginx-plain", "nginx-map", "nginx-authreq", "haproxy", "relay")
WITH_TLS = ("portcullis", "nginx-plain", "nginx-map", "nginx-authreq", "haproxy")
WITH_TOKENS = ("portcullis", "nginx-map", "nginx-authreq", "haproxy")

@dataclass(frozen=True)
class Case:
    """One kind of load."""

    name: str
    title: str
    measure: Callable[[Stage, Running, float], Load]
    programs: tuple[str, ...]
    base: str = "nginx-plain"
    """The program that the others are compared with."""
    per: str = "request"
    """What the processor's time is told for: `request` or `GiB`."""
    refused: bool = False
    """Whether every request is to be refused."""


def path_of(number: int) -> str:
    return f"/repos/acme/r{number:04}/contents/README.md"


def authorization(token: str) -> str:
    return f"Authorization: Bearer {token}"


def url(running: Running, path: str, tls: bool = False) -> str:
    port = running.tls if tls else running.plain
    return f"{'https' if tls else 'http'}://127.0.0.1:{port}{path}"


def keep_alive(connections: int, tls: bool = False, more: tuple[str, ...] = ()) -> Callable[[Stage, Running, float], Load]:
    """wrk with one token."""

    def measure(stage: Stage, running: Running, seconds: float) -> Load:
        headers = [authorization(stage.tokens[0].text), *more]
        return load.wrk(url(running, path_of(0), tls), connections, seconds, stage.load_core, headers)

    return measure


def rotating(stage: Stage, running: Running, seconds: float) -> Load:
    """wrk with every token in turn, each on its own repository."""
    table = stage.directory / "tokens.txt"
    if not table.exists():
        table.write_text("".join(f"{token.text} {path_of(token.number)}\n" for token in stage.tokens))
    script = SCRIPTS / "rotate.lua"
    return load.wrk(url(running, "/"), 64, seconds, stage.load_core, script=script, arguments=["--", str(table)])


def refused(stage: Stage, running: Running, seconds: float) -> Load:
    """wrk with a token that nobody was given."""
    headers = [authorization(stage.unknown.text)]
    return load.wrk(url(running, path_of(0)), 64, seconds, stage.load_core, headers)


def http2(connections: int, streams: int) -> Callable[[Stage, Running, float], Load]:
    """h2load over TLS."""

    def measure(stage: Stage, running: Running, seconds: float) -> Load:
        headers = [authorization(stage.tokens[0].text)]
        target = url(running, path_of(0), tls=True)
        log = stage.directory / "h2load.log"
        return load.h2load(target, connections, streams, seconds, stage.load_core, headers, log)

    return measure


CASES = [
    Case("h1-c1", "HTTP/1.1, 1 connection", keep_alive(1), EVERY),
    Case("h1-c64", "HTTP/1.1, 64 connections", keep_alive(64), EVERY),
    Case("h1-c512", "HTTP/1.1, 512 connections", keep_alive(512), EVERY),
    Case("tok1k-c64", "HTTP/1.1, 64 connections, 1,000 tokens in turn", rotating, EVERY),
    Case("deny-c64", "HTTP/1.1, 64 connections, unknown token", refused, WITH_TOKENS, "nginx-map", refused=True),
    Case("tls-c64", "TLS, HTTP/1.1, 64 connections", keep_alive(64, tls=True), WITH_TLS),
    Case("tls-new-c16", "TLS, a new connection for each request, 16 at a time", keep_alive(16, True, ("Connection: close",)), WITH_TLS),
    Case("h2-c64", "TLS, HTTP/2, 64 connections, 1 stream each", http2(64, 1), WITH_TLS),
    Case("h2-c8m16", "TLS, HTTP/2, 8 connections, 16 streams each", http2(8, 16), WITH_TLS),
]
"""Every case, in the order of the report."""


def named(names: str) -> list[Case]:
    """The cases of a comma-separated list; a name stands for all that begin with it."""
    chosen: list[Case] = []
    for name in filter(None, names.split(",")):
        found = [case for case in CASES if case.name == name] or [case for case in CASES if case.name.startswith(name)]
        if not found:
            raise BenchError(f"no case `{name}`; --list tells which there are")
        chosen += [case for case in found if case not in chosen]
    return [case for case in CASES if case in chosen]
