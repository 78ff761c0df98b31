"""What is measured: the cases, each with the programs that it makes sense for."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import load
import repositories
from bodies import Client
from load import Load
from processes import BenchError
from stage import LARGE_BYTES, Running, Stage

SCRIPTS = Path(__file__).parent / "scripts"
EVERY = ("portcullis", "nginx-plain", "nginx-map", "nginx-authreq", "haproxy", "relay")
WITH_TLS = ("portcullis", "nginx-plain", "nginx-map", "nginx-authreq", "haproxy")
CLOSE = ("Connection: close",)
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
    refused: bool = False
    """Whether every request is to be refused."""
    bodies: bool = False
    """Whether the processor's time is told for a GiB rather than for a request."""
    rounds: int = 1000
    """The most rounds that it is worth."""
    repository: int = 0
    """The size of the git repository that it needs, in MiB."""


def path_of(number: int) -> str:
    return f"/repos/acme/r{number:04}/contents/README.md"


def authorization(token: str) -> str:
    return f"Authorization: Bearer {token}"


def url(running: Running, path: str, tls: bool = False) -> str:
    port = running.tls if tls else running.plain
    return f"{'https' if tls else 'http'}://127.0.0.1:{port}{path}"


def keep_alive(
    connections: int, tls: bool = False, more: tuple[str, ...] = ()
) -> Callable[[Stage, Running, float], Load]:
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
    return load.wrk(
        url(running, "/"), 64, seconds, stage.load_core, script=script, arguments=["--", str(table)]
    )


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


def bodies_in(seconds: float) -> int:
    """How many large bodies make a measurement of about this time."""
    return max(2, round(seconds * 4))


def downloads(stage: Stage, running: Running, seconds: float) -> Load:
    """Large answers, one after the other on one connection."""
    client = Client(running.plain.number, stage.tokens[0].text)
    start, count = time.monotonic(), bodies_in(seconds)
    for _ in range(count):
        if client.download("/repos/acme/r0000/zipball/main") != LARGE_BYTES:
            raise BenchError(f"{running.program.name}: a download was cut short")
    client.close()
    return Load(count, time.monotonic() - start, bytes=count * LARGE_BYTES)


def uploads(stage: Stage, running: Running, seconds: float) -> Load:
    """Large requests, one after the other on one connection."""
    client = Client(running.plain.number, stage.tokens[0].text)
    start, count = time.monotonic(), bodies_in(seconds)
    for _ in range(count):
        if client.upload("/upload/repos/acme/r0000/contents/large", stage.files / "large") != LARGE_BYTES:
            raise BenchError(f"{running.program.name}: an upload was cut short")
    client.close()
    return Load(count, time.monotonic() - start, bytes=count * LARGE_BYTES)


def git_url(stage: Stage, running: Running, number: int) -> str:
    """Where git finds the repository of a token."""
    token = stage.tokens[number]
    return f"http://x:{token.text}@127.0.0.1:{running.plain}/git/{token.scope}.git"


def clone(stage: Stage, running: Running, seconds: float) -> Load:
    """git clones the repository of the first token."""
    del seconds
    target = stage.directory / "clone.git"
    words = ["clone", "--quiet", "--bare", git_url(stage, running, 0), str(target)]
    start = time.monotonic()
    repositories.git(words, stage.load_core, stage.directory)
    took = time.monotonic() - start
    size = sum(file.stat().st_size for file in (target / "objects" / "pack").iterdir())
    if repositories.head(target) != repositories.head(stage.repositories / "acme" / "r0000.git"):
        raise BenchError(f"{running.program.name}: the clone is another repository")
    shutil.rmtree(target)
    return Load(2, took, bytes=size)


def push(stage: Stage, running: Running, seconds: float) -> Load:
    """git pushes a repository of 1 GiB to an empty one, in chunks."""
    del seconds
    source, target = stage.push_source, stage.repositories / "acme" / "r0001.git"
    repositories.empty(target)
    words = [
        *repositories.SETTINGS,
        "-C",
        str(source),
        "push",
        "--quiet",
        git_url(stage, running, 1),
        "main:main",
    ]
    start = time.monotonic()
    repositories.git(words, stage.load_core, stage.directory)
    took = time.monotonic() - start
    size = sum(file.stat().st_size for file in (target / "objects" / "pack").iterdir())
    if repositories.head(target) != repositories.head(source):
        raise BenchError(f"{running.program.name}: the push did not arrive")
    shutil.rmtree(target)
    return Load(2, took, bytes=size)


CLONE_MEBIBYTES, PUSH_MEBIBYTES = 300, 1024
WITH_BODIES = tuple(name for name in EVERY if name != "relay")
WITH_GIT = ("portcullis", "nginx-plain", "direct")

CASES = [
    Case("h1-c1", "HTTP/1.1, 1 connection", keep_alive(1), EVERY),
    Case("h1-c64", "HTTP/1.1, 64 connections", keep_alive(64), EVERY),
    Case("h1-c512", "HTTP/1.1, 512 connections", keep_alive(512), EVERY),
    Case("tok1k-c64", "HTTP/1.1, 64 connections, 1,000 tokens in turn", rotating, EVERY),
    Case(
        "deny-c64", "HTTP/1.1, 64 connections, unknown token", refused, WITH_TOKENS, "nginx-map", refused=True
    ),
    Case("tls-c64", "TLS, HTTP/1.1, 64 connections", keep_alive(64, tls=True), WITH_TLS),
    Case(
        "tls-new-c16",
        "TLS, a handshake for each request, 16 at a time",
        keep_alive(16, True, CLOSE),
        WITH_TLS,
    ),
    Case("h2-c64", "TLS, HTTP/2, 64 connections, 1 stream each", http2(64, 1), WITH_TLS),
    Case("h2-c8m16", "TLS, HTTP/2, 8 connections, 16 streams each", http2(8, 16), WITH_TLS),
    Case("dl64", "64 MiB downloads", downloads, EVERY, bodies=True),
    Case("up64", "64 MiB uploads", uploads, WITH_BODIES, bodies=True),
    Case("clone", "`git clone`, 300 MiB", clone, WITH_GIT, bodies=True, rounds=3, repository=CLONE_MEBIBYTES),
    Case("push-1g", "`git push`, 1 GiB", push, WITH_GIT, bodies=True, rounds=1, repository=PUSH_MEBIBYTES),
]
"""Every case, in the order of the report."""


def named(names: str) -> list[Case]:
    """The cases of a comma-separated list; a name stands for all that begin with it."""
    chosen: list[Case] = []
    for name in filter(None, names.split(",")):
        found = [case for case in CASES if case.name == name] or [
            case for case in CASES if case.name.startswith(name)
        ]
        if not found:
            raise BenchError(f"no case `{name}`; --list tells which there are")
        chosen += [case for case in found if case not in chosen]
    return [case for case in CASES if case in chosen]
