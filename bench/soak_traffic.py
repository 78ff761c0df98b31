"""The traffic of the soak: clients that know for each request whether it is to pass, and say where it went
otherwise."""

from __future__ import annotations

import http.client
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import repositories
import tokens
from configurations import REST_BODY
from soak_policy import Policy
from tokens import Token

TIMEOUT = 30.0
PAUSE = 1.0
"""After a failure, seconds."""

FILE_BYTES = 4096
UNKNOWN = [tokens.make(number, "unknown") for number in range(20)]
"""Sound tokens that nobody was given."""

ROUNDS_OF_A_COPY = 20
"""After how many pushes a working copy is made anew, by a clone."""


@dataclass
class Tally:
    """What all clients did."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def fail(self, what: str) -> None:
        with self.lock:
            self.failures.append(what)


class Client(threading.Thread):
    """A client that works until it is told to stop; what it cannot explain is a failure."""

    def __init__(self, name: str, stop: threading.Event, tally: Tally) -> None:
        super().__init__(name=name, daemon=True)
        self.stop, self.tally = stop, tally

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self.work()
            except (OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError) as error:
                self.tally.fail(f"{self.name}: {type(error).__name__}: {error}")
                self.stop.wait(PAUSE)

    def work(self) -> None:
        """One step."""
        raise NotImplementedError


CUT = 0
"""In the place of a status: the answer was broken off."""


class Rest(Client):
    """Asks with tokens that stay, that are about to go, that are gone, and that never were."""

    def __init__(
        self, number: int, port: int, policy: Policy, stop: threading.Event, tally: Tally, rate: float
    ) -> None:
        super().__init__(f"rest-{number}", stop, tally)
        self.random = random.Random(number)
        self.policy, self.pause = policy, 1 / rate
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self.next = time.monotonic()

    def ask(self, token: Token, repository: str) -> tuple[int, str]:
        """One request with `token` for a repository."""
        path = f"/repos/acme/{repository}/contents/README.md"
        try:
            self.connection.request("GET", path, headers={"Authorization": f"Bearer {token.text}"})
            answer = self.connection.getresponse()
            return answer.status, answer.read().decode()
        except (ConnectionError, http.client.IncompleteRead) as error:
            # The next request opens a new connection.
            self.connection.close()
            return CUT, f"{type(error).__name__}: {error}"

    def work(self) -> None:
        self.next += self.pause
        time.sleep(max(0.0, self.next - time.monotonic()))
        chance = self.random.random()
        if chance < 0.6:
            token = self.random.choice(self.policy.kept)
            self.expect("kept", token, self.ask(token, token.repository), {200})
        elif chance < 0.7:
            token = self.random.choice(self.policy.kept)
            self.expect("other repository", token, self.ask(token, "r9999"), {404})
        elif chance < 0.95:
            self.ask_doomed()
        else:
            token = self.random.choice(UNKNOWN)
            self.expect("unknown", token, self.ask(token, token.repository), {401})

    def ask_doomed(self) -> None:
        """A token near the one that is being taken back: on either side of it, or itself.

        What is under way when its token goes may end as it began, be refused, or be cut.
        """
        policy = self.policy
        with policy.lock:
            at = policy.begun + self.random.randint(-4, 3)
            at = min(max(at, 0), len(policy.doomed) - 1)
            was_gone = at < policy.ended
        token = policy.doomed[at]
        got = self.ask(token, token.repository)
        with policy.lock:
            was_told = at < policy.begun
        wanted = {401} if was_gone else {200, 401, CUT} if was_told else {200}
        self.expect("taken back" if was_gone else "going" if was_told else "standing", token, got, wanted)

    def expect(self, what: str, token: Token, got: tuple[int, str], wanted: set[int]) -> None:
        status, body = got
        if status not in wanted or (status == 200 and body != REST_BODY):
            self.tally.fail(f"{self.name}: {what}, token {token.number}: {status} {body[:200]!r}")
        self.tally.count(f"rest, {what}")


class Git(Client):
    """Works on one repository: pushes, fetches into a second copy, clones now and then, and is refused with a
    token that is gone."""

    def __init__(
        self, token: Token, port: int, policy: Policy, stop: threading.Event, tally: Tally, home: Path
    ) -> None:
        super().__init__(f"git-{token.number}", stop, tally)
        self.token, self.port, self.policy = token, port, policy
        self.random = random.Random(1000 + token.number)
        self.home = home
        self.mine, self.other = home / "mine", home / "other"
        self.rounds = 0
        home.mkdir(parents=True)

    def url(self, token: Token, scope: str) -> str:
        return f"http://x:{token.text}@127.0.0.1:{self.port}/git/{scope}.git"

    def git(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            ["git", "-c", "user.name=Soak", "-c", "user.email=soak@example.com", "-c", "gc.auto=0", *words],
            capture_output=True,
            text=True,
            timeout=TIMEOUT * 2,
            env=repositories.environment(self.home),
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def do(self, what: str, *words: str) -> str:
        """What must succeed, and what it printed."""
        code, said = self.git(*words)
        if code != 0:
            self.tally.fail(f"{self.name}: {what} ended with {code}: {said[-500:]}")
        self.tally.count(f"git, {what}")
        return said.strip()

    def work(self) -> None:
        url = self.url(self.token, self.token.scope)
        if self.rounds % ROUNDS_OF_A_COPY == 0:
            for copy in (self.mine, self.other):
                shutil.rmtree(copy, ignore_errors=True)
                self.do("clone", "clone", "--quiet", url, str(copy))
        self.rounds += 1
        file = self.mine / f"file-{self.rounds % 50}"
        file.write_bytes(self.random.randbytes(FILE_BYTES))
        self.do("add", "-C", str(self.mine), "add", "--all")
        self.do("commit", "-C", str(self.mine), "commit", "--quiet", "-m", f"Round {self.rounds}")
        self.do("push", "-C", str(self.mine), "push", "--quiet", "origin", "HEAD:main")
        self.do("fetch", "-C", str(self.other), "fetch", "--quiet", "origin")
        mine = self.do("read", "-C", str(self.mine), "rev-parse", "HEAD")
        other = self.do("read", "-C", str(self.other), "rev-parse", "origin/main")
        if mine != other:
            self.tally.fail(f"{self.name}: pushed {mine}, fetched {other}")
        self.be_refused()
        self.stop.wait(self.random.uniform(0.2, 0.8))

    def be_refused(self) -> None:
        """A token that is gone opens nothing, also where its repository is there; neither does one of
        somebody else."""
        with self.policy.lock:
            gone = self.policy.doomed[self.policy.ended - 1] if self.policy.ended else None
        for what, token in [("taken back", gone), ("not granted", self.policy.kept[-1])]:
            if token is None:
                continue
            code, said = self.git("ls-remote", self.url(token, self.token.scope))
            if code == 0 or not ("Authentication failed" in said or "not found" in said):
                self.tally.fail(f"{self.name}: ls-remote, {what}, ended with {code}: {said[-500:]}")
            self.tally.count(f"git, refused, {what}")
