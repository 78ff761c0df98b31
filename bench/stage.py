"""The stage of a run: a directory, a certificate, tokens, the host behind, and the programs before it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import configurations
import repositories
import tokens
from configurations import Listen
from processes import BenchError, Port, Processes, Word
from tokens import Token

ROOT = Path(__file__).resolve().parent.parent
TOKENS = 1000
LARGE_BYTES = 64 << 20
FCGI_PLACES = 4


@dataclass(frozen=True)
class Program:
    """A program that stands before the host."""

    name: str
    title: str
    check: str
    """What it looks at before it lets a request pass: `-`, `token`, `token, repository`."""
    tls: bool = True


PROGRAMS = [
    Program("portcullis", "Portcullis", "token, route, repository"),
    Program("nginx-plain", "nginx `proxy_pass`", "-"),
    Program("nginx-map", "nginx `map`", "token"),
    Program("nginx-authreq", "nginx `auth_request`", "token, repository"),
    Program("haproxy", "HAProxy `map`", "token, repository"),
    Program("relay", "TCP relay", "-", tls=False),
    Program("direct", "no proxy", "-", tls=False),
]
"""Everything that can be measured, in the order of the report. The last is the host itself."""


@dataclass
class Running:
    """A program that runs."""

    program: Program
    plain: Port
    tls: Port | None
    sessions: list[int] = field(default_factory=list)
    """The sessions of its processes, those of a service that it asks too."""
    audit: Path | None = None
    control: Port | None = None


@dataclass
class Stage:
    """Where everything of one run is."""

    directory: Path
    processes: Processes
    proxy_core: int | None
    load_core: int | None
    binary: Path
    tokens: list[Token] = field(default_factory=list)
    upstream: Port = field(default_factory=Port)
    sink: Port = field(default_factory=Port)
    running: dict[str, Running] = field(default_factory=dict)

    @property
    def unknown(self) -> Token:
        """A sound token that nobody was given."""
        return tokens.make(0, "unknown")

    @property
    def certificate(self) -> Path:
        return self.directory / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.directory / "key.pem"

    @property
    def files(self) -> Path:
        return self.directory / "files"

    @property
    def repositories(self) -> Path:
        return self.directory / "repositories"

    @property
    def push_source(self) -> Path:
        """The repository that is pushed."""
        return self.directory.parent / "push.git"

    def write(self, name: str, text: str) -> Path:
        """Writes a file below the directory."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def cores() -> tuple[int, int]:
    """The core of the proxies, and the one of the host and the clients."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError("the bench wants two cores: one for the proxy, one for the host and the clients")
    return allowed[-1], allowed[0]


def prepare(stage: Stage) -> None:
    """Makes the certificate, the tokens and the files, and starts the host."""
    stage.tokens = [tokens.make(number) for number in range(TOKENS)]
    for directory in (stage.files, stage.repositories):
        directory.mkdir()
    openssl = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = subprocess.run(
        [*openssl, "-keyout", stage.key, "-out", stage.certificate, *names],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise BenchError(f"openssl makes no certificate: {made.stderr}")
    with (stage.files / "large").open("wb") as large:
        large.truncate(LARGE_BYTES)
    start_upstream(stage)


def prepare_repositories(stage: Stage, sizes: dict[str, int]) -> None:
    """Makes the repositories that are cloned and pushed, or takes those of an earlier run. Sizes are MiB."""
    if "clone" in sizes:
        made = repositories.generate(stage.directory.parent / "clone.git", sizes["clone"])
        (stage.repositories / "acme").mkdir(exist_ok=True)
        (stage.repositories / "acme" / "r0000.git").symlink_to(made)
    if "push-1g" in sizes:
        repositories.generate(stage.push_source, sizes["push-1g"])
        (stage.repositories / "acme").mkdir(exist_ok=True)


def git_backend() -> Path:
    """The program that serves git over CGI."""
    output = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout
    return Path(output.strip()) / "git-http-backend"


def start_upstream(stage: Stage) -> None:
    """nginx with fcgiwrap for git, and the host that takes uploads and throws them away."""
    gates = stage.directory / "fcgi.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(gates))
        listener.listen(64)
        gates.chmod(0o777)
        environment = {
            "GIT_CONFIG_GLOBAL": str(stage.write("gitconfig", GIT_CONFIG)),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        for place in range(FCGI_PLACES):
            stage.processes.start(
                f"fcgiwrap-{place}",
                [program("fcgiwrap")],
                stage.load_core,
                environment=environment,
                stdin=listener.fileno(),
            )
    directory = stage.directory / "upstream"
    directory.mkdir()
    text = configurations.nginx_upstream(
        directory, stage.upstream, stage.files, stage.repositories, gates, git_backend()
    )
    start_nginx(stage, "upstream", text, stage.load_core, [stage.upstream])
    sink: list[Word] = [sys.executable, Path(__file__).with_name("bodies.py"), str(stage.sink)]
    stage.processes.start("sink", sink, stage.load_core, [stage.sink])


GIT_CONFIG = "[http]\n  receivepack = true\n[safe]\n  directory = *\n[core]\n  bigFileThreshold = 64k\n"


def start_nginx(stage: Stage, name: str, text: str, core: int | None, ports: list[Port]) -> int:
    """Starts nginx with a configuration; its files are below a directory of its own."""
    directory = stage.directory / name
    directory.mkdir(exist_ok=True)
    file = stage.write(f"{name}/nginx.conf", text)
    command: list[Word] = [program("nginx"), "-c", file, "-p", directory, "-e", "stderr"]
    return stage.processes.start(name, command, core, ports)


def program(name: str) -> str:
    """Where a program is, also in the directories that only root has in `PATH`."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise BenchError(f"`{name}` is not installed; `make bench` installs it")
    return found


def peer(name: str) -> Path:
    """A program of `bench/peers`, built by `make bench`."""
    path = ROOT / "target" / "release" / "examples" / name
    if not path.exists():
        raise BenchError(f"`{path}` is not there; run: cargo build --release --example {name}")
    return path


def start(stage: Stage, which: Program) -> Running:
    """Starts a program on the core of the proxies and waits until it listens."""
    listen = Listen(Port(), Port(), stage.certificate, stage.key)
    running = Running(which, listen.plain, listen.tls if which.tls else None)
    (stage.directory / which.name).mkdir()
    STARTERS[which.name](stage, running, listen)
    stage.running[which.name] = running
    return running


def start_portcullis(stage: Stage, running: Running, listen: Listen) -> None:
    declared = tokens.declaration(stage.tokens, "{ contents: write }")
    start_gateway(stage, running, listen, {"tokens/all.yaml": declared})


def start_gateway(
    stage: Stage, running: Running, listen: Listen, policies: dict[str, str], workers: int = 1
) -> None:
    """Starts Portcullis with these policy files."""
    for name, text in policies.items():
        stage.write(f"portcullis/policies/{name}", text)
    # Not beside the configuration, which is watched: each write there would be looked at.
    running.audit = stage.directory / "log" / "audit.jsonl"
    running.audit.parent.mkdir()
    running.control = Port()
    for port in (listen.plain, listen.tls, running.control):
        port.release()  # A gateway refuses a port that somebody else has.
    directory = stage.directory / "portcullis" / "policies"
    text = configurations.portcullis(
        listen, running.control, stage.upstream, stage.sink, directory, running.audit, workers
    )
    file = stage.write("portcullis/portcullis.yaml", text)
    command: list[Word] = [stage.binary, "serve", "--config", file]
    ports = [listen.plain, listen.tls, running.control]
    running.sessions.append(stage.processes.start("portcullis", command, stage.proxy_core, ports))


def start_proxy(stage: Stage, running: Running, listen: Listen, parts: tuple[str, ...] = ()) -> None:
    name = running.program.name
    text = configurations.nginx_proxy(stage.directory / name, listen, stage.upstream, stage.sink, *parts)
    running.sessions.append(start_nginx(stage, name, text, stage.proxy_core, [listen.plain, listen.tls]))


def start_nginx_map(stage: Stage, running: Running, listen: Listen) -> None:
    start_proxy(stage, running, listen, configurations.nginx_map(stage.tokens))


def start_auth_request(stage: Stage, running: Running, listen: Listen) -> None:
    service = Port()
    service.release()
    table = stage.write("nginx-authreq/tokens.txt", configurations.token_table(stage.tokens))
    command: list[Word] = [peer("authorizer"), str(service), table]
    running.sessions.append(stage.processes.start("authorizer", command, stage.proxy_core, [service]))
    start_proxy(stage, running, listen, configurations.nginx_auth_request(service))


def start_haproxy(stage: Stage, running: Running, listen: Listen) -> None:
    pair = stage.write("haproxy/pair.pem", stage.certificate.read_text() + stage.key.read_text())
    table = stage.write("haproxy/tokens.map", configurations.token_table(stage.tokens))
    text = configurations.haproxy(listen, pair, stage.upstream, stage.sink, table)
    command: list[Word] = [program("haproxy"), "-db", "-f", stage.write("haproxy/haproxy.cfg", text)]
    running.sessions.append(
        stage.processes.start("haproxy", command, stage.proxy_core, [listen.plain, listen.tls])
    )


def start_relay(stage: Stage, running: Running, listen: Listen) -> None:
    listen.plain.release()
    command: list[Word] = [peer("relay"), str(listen.plain), str(stage.upstream)]
    running.sessions.append(stage.processes.start("relay", command, stage.proxy_core, [listen.plain]))


def start_direct(stage: Stage, running: Running, listen: Listen) -> None:
    del listen
    running.plain = stage.upstream


STARTERS: dict[str, Callable[[Stage, Running, Listen], None]] = {
    "portcullis": start_portcullis,
    "nginx-plain": start_proxy,
    "nginx-map": start_nginx_map,
    "nginx-authreq": start_auth_request,
    "haproxy": start_haproxy,
    "relay": start_relay,
    "direct": start_direct,
}
