"""Tests of the parts that only compute. `python3 -m unittest discover bench`"""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import accounting
import load
import machine
import tables
import tokens
from cases import CASES, named
from processes import BenchError
from report import Sample, Spread, of, ratio
from stage import PROGRAMS
from targets import TARGETS, Target, cost, missed, wall

WRK = """Running 2s test @ http://127.0.0.1:40123/repos/acme/r0000/contents/README.md
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.23ms  456.00us  12.34ms   91.00%
    Req/Sec    50.12k     1.20k   52.00k    70.00%
  Latency Distribution
     50%  912.00us
     75%    1.10ms
     90%    1.50ms
     99%    2.75ms
  100250 requests in 2.01s, 120.00MB read
Requests/sec:  49875.62
Transfer/sec:     59.70MB
"""

H2LOAD = """starting benchmark...
finished in 2.00s, 22205.00 req/s, 25.10MB/s
requests: 44410 total, 44538 started, 44410 done, 44410 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 44410 2xx, 0 3xx, 0 4xx, 0 5xx
"""


def sample(program: str, number: int, cpu: int, case: str = "h1-c64", peak: int = 0) -> Sample:
    """A sample of 1,000 requests that took `cpu` microseconds each."""
    return Sample(case, program, number, 1000, float(cpu), cpu * 1_000_000, peak, 0.1)


class Wrk(unittest.TestCase):
    def test_a_summary(self) -> None:
        done = load.parse_wrk(WRK)
        self.assertEqual((done.requests, done.refused), (100250, 0))
        self.assertEqual((done.seconds, done.p50, done.p99), (2.01, 912.0, 2750.0))

    def test_refusals_are_counted(self) -> None:
        refused = WRK.replace("Requests/sec", "  Non-2xx or 3xx responses: 17\nRequests/sec")
        self.assertEqual(load.parse_wrk(refused).refused, 17)

    def test_broken_sockets_are_failures(self) -> None:
        broken = WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n"
        self.assertRaises(BenchError, load.parse_wrk, broken)
        self.assertRaises(BenchError, load.parse_wrk, "unable to connect")


class H2load(unittest.TestCase):
    def test_a_summary_and_its_log(self) -> None:
        log = "1700000000000000\t200\t100\n1700000000000001\t200\t300\n1700000000000002\t200\t200\n"
        done = load.parse_h2load(H2LOAD, log)
        self.assertEqual((done.requests, done.seconds, done.refused), (44410, 2.0, 0))
        self.assertEqual((done.p50, done.p99), (200.0, 300.0))

    def test_other_statuses_are_refusals(self) -> None:
        self.assertEqual(load.parse_h2load(H2LOAD, "1\t200\t5\n2\t403\t5\n3\t-1\t5\n").refused, 2)

    def test_failures(self) -> None:
        self.assertRaises(BenchError, load.parse_h2load, H2LOAD.replace("0 failed", "2 failed"), "")
        self.assertRaises(BenchError, load.parse_h2load, "no such host", "")


class Numbers(unittest.TestCase):
    def test_times(self) -> None:
        for text, want in [("912.00us", 912.0), ("1.5ms", 1500.0), ("2.00s", 2e6), ("1.00m", 6e7)]:
            self.assertAlmostEqual(load.microseconds(text), want)
        self.assertRaises(BenchError, load.microseconds, "5 parsecs")

    def test_percentiles(self) -> None:
        values = list(range(100, 0, -1))
        for share, want in [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)]:
            self.assertEqual(load.percentile(values, share), want)
        self.assertEqual(load.percentile([7], 0.5), 7)
        self.assertRaises(BenchError, load.percentile, [], 0.5)

    def test_spreads(self) -> None:
        spread = Spread.of([3, 1, 2])
        self.assertEqual((spread.median, spread.low, spread.high), (2, 1, 3))
        self.assertEqual(Spread.of([1234.5]).show(0), "1,234 (1,234–1,234)")

    def test_ratios_are_taken_inside_a_round(self) -> None:
        # The second round was twice as slow for both: the ratio does not see it. The third is the first program's alone.
        samples = [sample("portcullis", 0, 12), sample("nginx-plain", 0, 10), sample("portcullis", 1, 24)]
        samples += [sample("nginx-plain", 1, 20), sample("portcullis", 2, 99)]
        share = ratio(samples, "h1-c64", ("portcullis", "nginx-plain"), cost)
        self.assertEqual(share, Spread(1.2, 1.2, 1.2))
        self.assertIsNone(ratio(samples, "h1-c64", ("portcullis", "haproxy"), cost))
        self.assertEqual([one.round for one in of(samples, "h1-c64", "portcullis")], [0, 1, 2])

    def test_costs(self) -> None:
        self.assertEqual(sample("portcullis", 0, 12).cost, 12)
        bodies = Sample("dl64", "portcullis", 0, 8, 1.0, 250_000_000, 0, 0.0, bytes=1 << 29)
        self.assertEqual(bodies.cost, 500)
        self.assertEqual(Sample.from_json(bodies.to_json()), bodies)


class Kernel(unittest.TestCase):
    def test_sizes(self) -> None:
        status = "Name:\tnginx\nVmPeak:\t  999 kB\nVmHWM:\t   12 kB\nVmRSS:\t    8 kB\n"
        self.assertEqual(accounting.size_in(status, "VmHWM"), 12 << 10)
        self.assertEqual(accounting.size_in(status, "VmSwap"), 0)

    def test_busy_time(self) -> None:
        stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 100 50 4 5 6 0 0\ncpu1 7 0 0 1 1 0 0 0 0 0\n"
        self.assertEqual((accounting.busy_in(stat, 0), accounting.busy_in(stat, 1)), (21, 7))

    def test_versions(self) -> None:
        for output, want in [
            ("nginx version: nginx/1.22.1", "1.22.1"),
            ("wrk debian/4.1.0-3+b2", "4.1.0"),
            ("", "unknown"),
        ]:
            self.assertEqual(machine.version_in(output), want)


class Tokens(unittest.TestCase):
    def test_the_checksum_is_crc32_in_base62(self) -> None:
        self.assertEqual(tokens.base62(0xCBF43926, 6), "3jZRME")

    def test_tokens_are_distinct_and_the_same_each_time(self) -> None:
        made = [tokens.make(number).text for number in range(100)] + [tokens.make(0, "unknown").text]
        self.assertEqual(len(set(made)), 101)
        self.assertEqual(made[7], tokens.make(7).text)
        self.assertRegex(made[7], r"^portcullis_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}$")

    def test_declarations(self) -> None:
        text = tokens.declaration([tokens.make(3), tokens.make(4)], "{ contents: read }", frozenset({4}))
        self.assertEqual(text.count("sha256: "), 2)
        self.assertIn("repositories: [r0003]", text)
        self.assertEqual([line.endswith("state: revoked }") for line in text.splitlines()[1:]], [False, True])


class Reports(unittest.TestCase):
    def test_targets_name_cases_and_programs(self) -> None:
        cases = {case.name: case for case in CASES}
        for target in TARGETS:
            self.assertLessEqual(target.aim, target.must)
            if target.versus:
                self.assertIn(target.versus, cases[target.case].programs)
        names = [program.name for program in PROGRAMS]
        for case in CASES:
            self.assertIn(case.base, case.programs)
            self.assertLessEqual(set(case.programs), set(names))

    def test_verdicts(self) -> None:
        target = Target("h1-c64", "cpu", "nginx-plain", 1.25, 1.0)
        told = [target.verdict(value) for value in (1.0, 1.25, 1.26)]
        self.assertEqual(told, ["aim met", "met", "**missed**"])
        samples = [sample("portcullis", 0, 13), sample("nginx-plain", 0, 10)]
        self.assertEqual(target.measured(samples), 1.3)
        self.assertEqual([found.case for found in missed(samples)], ["h1-c64"])

    def test_memory_is_the_highest_of_all_rounds(self) -> None:
        target = Target("clone", "memory", None, 64, 64)
        samples = [
            sample("portcullis", number, 1, "clone", peak << 20) for number, peak in enumerate((20, 65, 30))
        ]
        self.assertEqual(target.measured(samples), 65)
        self.assertIsNone(target.measured([]))

    def test_waiting_is_compared_with_no_proxy(self) -> None:
        samples = [sample("portcullis", 0, 21, "clone"), sample("direct", 0, 20, "clone")]
        self.assertEqual(ratio(samples, "clone", ("portcullis", "direct"), wall), Spread(1.05, 1.05, 1.05))

    def test_a_summary_has_a_line_for_each_case_that_was_measured(self) -> None:
        samples = [sample("portcullis", 0, 12), sample("nginx-plain", 0, 10)]
        lines = tables.summary(samples).splitlines()
        self.assertEqual(len(lines), 3)
        self.assertEqual(lines[2], "| HTTP/1.1, 64 connections | **1.20** | 1 (10.0 µs) |  |  |  |")
        self.assertIn("| 1.25 | 1 | 1.20 | met |", tables.targets(samples))
        self.assertIn("not measured", tables.targets(samples))

    def test_a_page_holds_every_case_that_was_measured(self) -> None:
        page = tables.page({"kernel": "Linux"}, [sample("portcullis", 0, 12), sample("nginx-plain", 0, 10)])
        self.assertEqual(page.count("\n### "), 1)
        self.assertIn("| Portcullis | token, route, repository | 12.0 (12.0–12.0) | 1.20 (1.20–1.20) |", page)

    def test_cases_by_the_beginning_of_their_names(self) -> None:
        self.assertEqual([case.name for case in named("deny,h1-c64")], ["h1-c64", "deny-c64"])
        self.assertEqual([case.name for case in named("h2")], ["h2-c64", "h2-c8m16"])
        self.assertRaises(BenchError, named, "h3")

    def test_sections_are_replaced(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "page.md"
            file.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
            tables.replace_section(file, "new")
            tables.replace_section(file, "newer")
            self.assertEqual(file.read_text(), f"before\n{tables.BEGIN}\n\nnewer\n\n{tables.END}\nafter\n")
            file.write_text("nothing")
            self.assertRaises(BenchError, tables.replace_section, file, "new")


if __name__ == "__main__":
    unittest.main()
