"""Fine-grained tokens for the bench: the same ones in every run, declared in a policy file.

A token's text is `portcullis_pat_<22 base62>_<53 base62><6 base62: CRC-32 of what stands before>`.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
OWNER = "acme"
PREFIX = "portcullis_pat_"


def base62(number: int, width: int) -> str:
    """`number` in base 62, padded with `0` to `width` digits; what does not fit is cut off at the left."""
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits))


@dataclass(frozen=True)
class Token:
    """A token that opens one repository."""

    number: int
    text: str

    @property
    def user(self) -> str:
        return f"user{self.number:04}"

    @property
    def repository(self) -> str:
        """The repository that it was granted, without its owner."""
        return f"r{self.number:04}"

    @property
    def scope(self) -> str:
        return f"{OWNER}/{self.repository}"

    @property
    def public_id(self) -> str:
        """The part that the audit log tells."""
        return self.text.removeprefix(PREFIX)[:22]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def make(number: int, family: str = "bench") -> Token:
    """The token of this number. Tokens of another family have other texts."""
    seed = int.from_bytes(hashlib.sha512(f"{family} {number}".encode()).digest(), "big")
    head = f"{PREFIX}{base62(seed, 22)}_{base62(seed >> 140, 53)}"
    return Token(number, head + base62(zlib.crc32(head.encode()), 6))


def declaration(tokens: list[Token], permissions: str, revoked: frozenset[int] = frozenset()) -> str:
    """The policy file that declares `tokens`, each with `permissions` on its own repository."""
    lines = ["tokens:"]
    for token in tokens:
        state = ", state: revoked" if token.number in revoked else ""
        lines.append(
            f"  - {{ name: t{token.number:04}, sha256: {token.digest}, user: {token.user}, resource_owner: {OWNER}, "
            f"repositories: [{token.repository}], permissions: {permissions}, expires_at: 2099-01-31{state} }}"
        )
    return "\n".join(lines) + "\n"
