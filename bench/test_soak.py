"""Tests of what the soak computes. `python3 -m unittest discover bench`"""

from __future__ import annotations

import json
import tempfile
import unittest
from pathlib import Path

import tokens
from processes import BenchError
from soak import memory_of
from soak_policy import Policy, read_audit


def line(token: str | None, generation: int, verdict: str, reason: str = "granted", effect: str = "") -> str:
    """An audit line, as far as the soak looks at it."""
    effect = effect or {"allow": "forwarded", "refuse": "refused"}[verdict]
    fields = {"token_id": token, "policy_generation": generation, "verdict": verdict, "reason": reason}
    return json.dumps({**fields, "effect": effect}) + "\n"


class Audit(unittest.TestCase):
    SINCE = {"gone": 7}

    def test_both_sides_of_a_generation(self) -> None:
        lines = [
            line("gone", 6, "allow"),
            line("gone", 7, "refuse", "token_revoked"),
            line("gone", 8, "refuse", "bad_credentials"),
            line("kept", 9, "allow"),
            line(None, 9, "refuse", "no_credentials"),
        ]
        audit = read_audit(lines, self.SINCE)
        self.assertEqual((audit.lines, audit.allowed_before, audit.refused_after), (5, 1, 2))
        self.assertEqual(audit.failures, [])

    def test_a_permit_after_it(self) -> None:
        for generation in (7, 8):
            self.assertEqual(len(read_audit([line("gone", generation, "allow")], self.SINCE).failures), 1)

    def test_what_is_under_way_may_be_cut(self) -> None:
        audit = read_audit([line("gone", 6, "refuse", "token_revoked", "aborted")], self.SINCE)
        self.assertEqual((audit.cut, audit.failures), (1, []))

    def test_a_refusal_before_it(self) -> None:
        for reason in ("token_revoked", "bad_credentials"):
            self.assertEqual(len(read_audit([line("gone", 6, "refuse", reason)], self.SINCE).failures), 1)
        other = read_audit([line("gone", 6, "refuse", "resource_not_granted")], self.SINCE)
        self.assertEqual(other.failures, [])


class Memory(unittest.TestCase):
    def test_a_line_has_its_slope(self) -> None:
        memory = memory_of([(float(at), 20 + at / 3600) for at in range(1000)])
        self.assertAlmostEqual(memory.slope, 1.0)
        self.assertAlmostEqual(memory.grown, 799 / 3600)

    def test_the_warm_up_does_not_count(self) -> None:
        memory = memory_of([(float(at), 5.0 if at < 20 else 30.0) for at in range(100)])
        self.assertEqual((memory.slope, memory.first, memory.last, memory.peak), (0.0, 30.0, 30.0, 30.0))

    def test_too_little_to_tell(self) -> None:
        self.assertRaises(BenchError, memory_of, [(0.0, 1.0)])


class Files(unittest.TestCase):
    def test_tokens_are_taken_back_in_two_ways(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            everyone = [tokens.make(number) for number in range(6)]
            policy = Policy(Path(directory), everyone[:2], everyone[2:])
            self.assertEqual(policy.doomed_file().count("sha256"), 4)
            self.assertNotIn("revoked", policy.doomed_file())
            policy.begun = 2
            text = policy.doomed_file()
            self.assertEqual(text.count("state: revoked"), 1)
            self.assertIn(everyone[2].digest, text)
            self.assertNotIn(everyone[3].digest, text)
            self.assertIn(everyone[4].digest, text)


if __name__ == "__main__":
    unittest.main()
