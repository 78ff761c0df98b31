"""The policy of the soak: tokens that stay, and one after the other that is taken back."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import tokens
from processes import BenchError
from tokens import Token
from verify import metric

PERMISSIONS = "{ contents: write }"
DEADLINE = 10.0
"""How long the gateway may take to notice a change before the soak gives up, seconds."""


@dataclass
class Policy:
    """The policy files, what is in force of them, and since which generation.

    Only one thread changes it; clients read under the lock.
    """

    directory: Path
    kept: list[Token]
    doomed: list[Token]
    control: int = 0
    """The port of the gateway's metrics."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: int = 0
    """How many tokens are being taken back, or are."""
    ended: int = 0
    """How many of them the generation in force has taken back."""
    since: dict[str, int] = field(default_factory=dict)
    """Public id of a token to the generation that took it back."""
    delays: list[float] = field(default_factory=list)
    """From the write of a file to its generation, seconds."""

    def files(self) -> dict[str, str]:
        """The files at the start, by name."""
        return {
            "tokens/kept.yaml": tokens.declaration(self.kept, PERMISSIONS),
            "tokens/doomed.yaml": self.doomed_file(),
            "deny.yaml": deny_file(0),
        }

    def doomed_file(self) -> str:
        """Of the tokens that were taken back, those with an even number stand as revoked, the others are left
        out."""
        gone = self.doomed[: self.begun]
        left_out = {token.number for token in gone if token.number % 2}
        revoked = frozenset(token.number for token in gone if token.number % 2 == 0)
        standing = [token for token in self.doomed if token.number not in left_out]
        return tokens.declaration(standing, PERMISSIONS, revoked)

    def take_back(self) -> None:
        """Takes the next token back, and waits until that is in force."""
        with self.lock:
            self.begun += 1
        generation = self.replace("tokens/doomed.yaml", self.doomed_file())
        with self.lock:
            self.since[self.doomed[self.begun - 1].public_id] = generation
            self.ended = self.begun

    def edit(self, number: int) -> None:
        """Changes a rule that no request of the soak meets, and waits until that is in force."""
        self.replace("deny.yaml", deny_file(number))

    def replace(self, name: str, text: str) -> int:
        """Puts a file in the place of the old one in one step; the generation that it is in force with."""
        before = self.generation()
        new = self.directory / f".{Path(name).name}.new"
        new.write_text(text)
        start = time.monotonic()
        os.replace(new, self.directory / name)
        while (now := self.generation()) == before:
            if time.monotonic() - start > DEADLINE:
                raise BenchError(f"`{name}` is not in force {DEADLINE:.0f} s after it was written")
            time.sleep(0.01)
        self.delays.append(time.monotonic() - start)
        return now

    def generation(self) -> int:
        """The generation in force."""
        return metric(metrics(self.control), "portcullis_snapshot_generation")


def deny_file(number: int) -> str:
    """A rule that closes a route that the soak does not use."""
    return f"deny:\n  - {{ name: edit {number}, route: 'DELETE /repos/{{owner}}/{{repo}}/edit-{number}' }}\n"


def metrics(control: int) -> str:
    """What the gateway counts."""
    with urllib.request.urlopen(f"http://127.0.0.1:{control}/metrics", timeout=DEADLINE) as answer:
        return str(answer.read().decode())


@dataclass
class Audit:
    """What the audit log says of the tokens that were taken back."""

    lines: int = 0
    refused_after: int = 0
    """Refusals of tokens that the generation had taken back."""
    allowed_before: int = 0
    """Requests of such tokens that an earlier generation let pass."""
    cut: int = 0
    """Requests of such tokens that had been let pass, and were broken off when the next generation came."""
    failures: list[str] = field(default_factory=list)


def read_audit(lines: Iterable[str], since: dict[str, int]) -> Audit:
    """Holds each line against the generation that took its token back: from there on it is refused, and never
    before. What is under way at that moment is judged again, and may be cut."""
    audit = Audit()
    for text in lines:
        audit.lines += 1
        line = json.loads(text)
        revoked = since.get(line["token_id"])
        if revoked is None:
            continue
        late = line["policy_generation"] >= revoked
        refused = line["verdict"] == "refuse"
        if late and refused:
            audit.refused_after += 1
        elif late:
            audit.failures.append(f"allowed after generation {revoked}: {text.strip()}")
        elif refused and line["effect"] == "aborted":
            audit.cut += 1
        elif refused and line["reason"] in ("token_revoked", "bad_credentials"):
            audit.failures.append(f"refused before generation {revoked}: {text.strip()}")
        else:
            audit.allowed_before += 1
    return audit
