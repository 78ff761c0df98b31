#!/usr/bin/env python3
"""Draws the dashboards as SVG, from what a Prometheus has seen, into docs/images.

It reads what stands in dashboards/ and draws it as Grafana would, near enough for a page of documentation: the kinds of
panels, units, thresholds and colours that are used there, and nothing else. The standard library alone.

Usage: draw.py http://127.0.0.1:9090 SECONDS    with the public id of the token to show in PORTCULLIS_TOKEN
`make dashboards` runs it behind a gateway under load.
"""

import html
import json
import math
import os
import pathlib
import sys
import time
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT = HERE.parent.parent / "docs" / "images"

WIDTH, ROW, GAP, POINTS = 1200, 36, 8, 120
PALETTE = ["#56a64b", "#e0b400", "#3fa7d6", "#ff780a", "#8f3bb8", "#3274d9", "#e02f44", "#795548", "#37872d", "#b3b300"]
COLORS = {
    "green": "#37a34a", "yellow": "#d9a400", "orange": "#ff780a", "red": "#e02f44", "blue": "#3274d9", "gray": "#9a9a9a",
}
TEXT, FAINT, GRID, PAPER, PANEL = "#24292e", "#6e7681", "#e7e9ec", "#f4f5f7", "#ffffff"


class Prometheus:
    """Answers the queries of panels."""

    def __init__(self, url, seconds):
        self.url, self.seconds, self.end = url, seconds, time.time()
        self.start = self.end - seconds
        self.variables = {
            "$__rate_interval": "15s",
            "$__range": f"{seconds}s",
            "$job": "portcullis",
            "$upstream": ".*",
            "$token": os.environ.get("PORTCULLIS_TOKEN", ""),
        }

    def get(self, path, query, **more):
        for name, value in self.variables.items():
            query = query.replace(name, value)
        arguments = urllib.parse.urlencode({"query": query, **more})
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{arguments}") as answer:
            return json.load(answer)["data"]["result"]

    def now(self, query):
        """Labels and value of each series."""
        found = self.get("query", query, time=self.end)
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    def over_time(self, query):
        """Labels and points of each series."""
        step = max(1.0, self.seconds / POINTS)
        found = self.get("query_range", query, start=self.start, end=self.end, step=step)
        return [(series["metric"], [(at, float(value)) for at, value in series["values"]]) for series in found]


def scaled(value, steps):
    """The number in the largest unit that it fills: (1500, [(1000, "k")]) is 1.5 and k."""
    size, name = 1, ""
    for at, unit in steps:
        if abs(value) >= at or size == 1 and at < 1:
            size, name = at, unit
    return value / size, name


def number(value, decimals=None):
    if decimals is None:
        decimals = 0 if value == int(value) else 1 if abs(value) >= 10 else 2
        text = f"{value:.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{decimals}f}"


DURATIONS = [(1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1, "s"), (60, "min"), (3600, "h"), (86400, "days")]
BINARY = [(1024.0**power, name + "iB") for power, name in enumerate("KMGT", 1)]
SHORT = [(1e3, "k"), (1e6, "M"), (1e9, "G")]


def formatted(value, unit, decimals=None):
    """A value as Grafana writes it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return number(value * 100, decimals) + "%"
    if unit == "s":
        if value == 0:
            return "0 s"
        value, name = scaled(value, DURATIONS)
        return f"{number(value, decimals)} {name}"
    if unit in ("bytes", "binBps"):
        value, name = scaled(value, BINARY)
        return f"{number(value, decimals)} {name or 'B'}" + ("/s" if unit == "binBps" else "")
    value, name = scaled(value, SHORT)
    rate = {"reqps": " req/s", "ops": " ops/s", "cps": "/s"}.get(unit, "")
    return number(value, decimals if not name else None) + name + rate


def color_of(value, thresholds):
    color = COLORS["green"]
    for step in (thresholds or {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            color = COLORS[step["color"]]
    return color


def text(x, y, words, size=12, fill=TEXT, anchor="start", weight="normal"):
    more = "" if anchor == "start" else f' text-anchor="{anchor}"'
    more += "" if weight == "normal" else f' font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}"{more}>{html.escape(words)}</text>'


def width_of(words, size=11):
    return len(words) * size * 0.56


class Panel:
    """One panel in its place."""

    def __init__(self, panel, prometheus):
        self.panel, self.prometheus = panel, prometheus
        at, column = panel["gridPos"], WIDTH / 24
        self.x, self.y = at["x"] * column + GAP / 2, at["y"] * ROW + GAP / 2
        self.w, self.h = at["w"] * column - GAP, at["h"] * ROW - GAP
        self.defaults = panel["fieldConfig"]["defaults"]
        self.unit, self.decimals = self.defaults.get("unit"), self.defaults.get("decimals")
        self.fixed = {
            override["matcher"]["options"]: COLORS[override["properties"][0]["value"]["fixedColor"]]
            for override in panel["fieldConfig"]["overrides"]
        }

    def draw(self):
        out = [
            f'<rect x="{self.x:.1f}" y="{self.y:.1f}" width="{self.w:.1f}" height="{self.h:.1f}" rx="3" fill="{PANEL}" stroke="#dde0e4"/>',
            text(self.x + 10, self.y + 19, self.panel["title"], 12, weight="600"),
        ]
        return out + getattr(self, self.panel["type"])()

    def samples(self):
        """Name and value of each series now."""
        found = []
        for target in self.panel["targets"]:
            found += [(named(target, labels), value) for labels, value in self.prometheus.now(target["expr"])]
        return found

    def stat(self):
        samples = self.samples()
        value = samples[0][1] if samples else math.nan
        words = formatted(value, self.unit, self.decimals)
        for mapping in self.defaults.get("mappings", []):
            words = mapping["options"].get(f"{value:g}", {"text": words})["text"]
        size = min(28, (self.w - 24) / (0.64 * len(words)))
        middle = self.y + 24 + (self.h - 24) / 2 + size / 3 - 4
        fill = color_of(value, self.defaults.get("thresholds"))
        return [text(self.x + self.w / 2, middle, words, round(size), fill, "middle", "600")]

    def bargauge(self):
        samples = sorted(self.samples(), key=lambda sample: -sample[1])
        samples = [sample for sample in samples if not math.isnan(sample[1])][:10]
        if not samples:
            return [self.empty()]
        longest = max(width_of(name) for name, _ in samples) * 1.1
        left, right = self.x + 14 + longest, self.x + self.w - 70
        height = min(26, (self.h - 40) / len(samples))
        most = max(value for _, value in samples) or 1
        out = []
        for at, (name, value) in enumerate(samples):
            y = self.y + 34 + at * height
            fill = color_of(value, self.defaults.get("thresholds"))
            length = max(1, (right - left) * value / most)
            out += [
                text(left - 6, y + height / 2 + 3, name, 11, FAINT, "end"),
                f'<rect x="{left:.1f}" y="{y + 3:.1f}" width="{right - left:.1f}" height="{height - 6:.1f}" fill="{PAPER}"/>',
                f'<rect x="{left:.1f}" y="{y + 3:.1f}" width="{length:.1f}" height="{height - 6:.1f}" fill="{fill}" fill-opacity="0.8"/>',
                text(right + 6, y + height / 2 + 3, formatted(value, self.unit, self.decimals), 11, fill, weight="600"),
            ]
        return out

    def table(self):
        rows = [row for target in self.panel["targets"] for row in self.prometheus.now(target["expr"])]
        if not rows:
            return [self.empty()]
        organize = next((it["options"] for it in self.panel.get("transformations", [])), {})
        hidden, names = organize.get("excludeByName", {}), organize.get("renameByName", {})
        columns = [name for name in dict.fromkeys(name for labels, _ in rows for name in labels) if name != "__name__"]
        columns += [] if hidden.get("Value") else ["Value"]
        cells = [
            [formatted(value, self.unit, self.decimals) if name == "Value" else labels.get(name, "") for name in columns]
            for labels, value in rows
        ]
        head = [names.get(name, name) for name in columns]
        needed = [max(map(len, column)) + 3 for column in zip(head, *cells)]
        places = [self.x + 10 + (self.w - 20) * sum(needed[:at]) / sum(needed) for at in range(len(needed))]
        y = self.y + 40
        out = [text(x, y, name, 11, FAINT, weight="600") for x, name in zip(places, head)]
        for row in cells[: int((self.h - 46) / 20)]:
            y += 20
            out.append(f'<path d="M{self.x + 10:.1f} {y - 14:.1f}h{self.w - 20:.1f}" stroke="{GRID}"/>')
            out += [text(x, y, cell, 11.5) for x, cell in zip(places, row)]
        return out

    def empty(self):
        return text(self.x + self.w / 2, self.y + self.h / 2, "No data", 12, FAINT, "middle")

    def timeseries(self):
        lines = []
        for target in self.panel["targets"]:
            for labels, points in self.prometheus.over_time(target["expr"]):
                points = [point for point in points if not math.isnan(point[1])]
                if points:
                    lines.append((named(target, labels), points))
        if not lines:
            return [self.empty()]
        custom = self.defaults.get("custom", {})
        colors = [self.fixed.get(name, PALETTE[at % len(PALETTE)]) for at, (name, _) in enumerate(lines)]
        legend, legend_height = self.legend([name for name, _ in lines], colors)
        frame = Frame(self, legend_height, custom.get("scaleDistribution", {}).get("type") == "log")
        stacked = "stacking" in custom
        bands = stack(lines) if stacked else [(name, [(at, 0, value) for at, value in points]) for name, points in lines]
        frame.fit(bands, self.defaults)
        out = frame.axes(self.unit)
        opacity = custom.get("fillOpacity", 0) / 100
        for (_, band), color in zip(bands, colors):
            top = " ".join(f"{frame.at_x(at):.1f},{frame.at_y(high):.1f}" for at, _, high in band)
            bottom = " ".join(f"{frame.at_x(at):.1f},{frame.at_y(low):.1f}" for at, low, _ in reversed(band))
            if stacked or len(bands) == 1:
                out.append(f'<polygon points="{top} {bottom}" fill="{color}" fill-opacity="{opacity * (2 if stacked else 1):.2f}"/>')
            out.append(f'<polyline points="{top}" fill="none" stroke="{color}" stroke-width="1.4" stroke-linejoin="round"/>')
        if custom.get("thresholdsStyle"):
            out += frame.thresholds(self.defaults["thresholds"])
        return out + legend

    def legend(self, names, colors):
        """What names the lines, at the panel's foot, and its height."""
        rows, x = [[]], 0
        for name, color in zip(names, colors):
            needed = width_of(name) + 24
            if x + needed > self.w - 20 and rows[-1]:
                rows.append([])
                x = 0
            rows[-1].append((x, name, color))
            x += needed
        rows, out = rows[:3], []
        for at, row in enumerate(rows):
            y = self.y + self.h - 10 - (len(rows) - 1 - at) * 15
            for x, name, color in row:
                out.append(f'<path d="M{self.x + 12 + x:.1f} {y - 4:.1f}h11" stroke="{color}" stroke-width="3"/>')
                out.append(text(self.x + 27 + x, y, name, 11, FAINT))
        return out, len(rows) * 15


class Frame:
    """The axes of a panel."""

    def __init__(self, panel, legend, logarithmic):
        self.left, self.right = panel.x + 66, panel.x + panel.w - 14
        self.top, self.bottom = panel.y + 34, panel.y + panel.h - legend - 26
        self.start, self.end = panel.prometheus.start, panel.prometheus.end
        self.logarithmic = logarithmic

    def fit(self, bands, defaults):
        """Chooses the ticks: four or so, or the powers of ten."""
        values = [high for _, band in bands for _, _, high in band]
        highest = max(0, *values)
        if self.logarithmic:
            least = min((value for value in values if value > 0), default=1)
            low, high = math.floor(math.log10(least)), math.ceil(math.log10(max(highest, least)) + 1e-9)
            self.ticks = [10.0**power for power in range(low, max(high, low + 1) + 1)]
            return
        base = 1024.0 ** math.floor(math.log(highest, 1024)) if highest >= 1024 and defaults["unit"] in ("bytes", "binBps") else 1
        step = nice(highest / base / 4 or 1) * base
        self.ticks = [step * at for at in range(max(1, math.ceil(highest / step * 0.999)) + 1)]

    def at_x(self, moment):
        return self.left + (moment - self.start) / (self.end - self.start) * (self.right - self.left)

    def at_y(self, value):
        low, high = self.ticks[0], self.ticks[-1]
        value = min(max(value, low), high)
        if self.logarithmic:
            low, high, value = (math.log10(number) for number in (low, high, value))
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def axes(self, unit):
        out = []
        for value in self.ticks:
            y = self.at_y(value)
            out.append(f'<path d="M{self.left:.1f} {y:.1f}H{self.right:.1f}" stroke="{GRID}"/>')
            out.append(text(self.left - 6, y + 4, formatted(value, unit), 10.5, FAINT, "end"))
        span, most = self.end - self.start, (self.right - self.left) / 75
        step = next(step for step in (15, 30, 60, 120, 300, 600, 3600, 1e9) if span / step <= most)
        moment = math.ceil(self.start / step) * step
        while moment <= self.end:
            words = time.strftime("%H:%M:%S" if step < 60 else "%H:%M", time.gmtime(moment))
            if moment < self.end - span / 30:
                out.append(text(self.at_x(moment), self.bottom + 15, words, 10.5, FAINT, "middle"))
            moment += step
        return out

    def thresholds(self, thresholds):
        out = []
        for step in thresholds["steps"]:
            if step["value"] is not None and self.ticks[0] <= step["value"] <= self.ticks[-1]:
                y, color = self.at_y(step["value"]), COLORS[step["color"]]
                out.append(f'<path d="M{self.left:.1f} {y:.1f}H{self.right:.1f}" stroke="{color}" stroke-dasharray="6 4"/>')
        return out


def nice(step):
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * 0.999)


def stack(lines):
    """Each line on top of those before it: moment, lower and upper edge."""
    heights, bands = {}, []
    for name, points in lines:
        band = []
        for at, value in points:
            low = heights.get(at, 0)
            heights[at] = low + value
            band.append((at, low, heights[at]))
        bands.append((name, band))
    return bands


def named(target, labels):
    """What the legend calls a series."""
    name = target.get("legendFormat", "")
    for label in name.split("{{")[1:]:
        label = label.split("}}")[0]
        name = name.replace("{{" + label + "}}", labels.get(label, ""))
    return name


def main():
    prometheus = Prometheus(sys.argv[1], int(sys.argv[2]))
    OUTPUT.mkdir(exist_ok=True)
    for file in sorted((HERE / "dashboards").glob("*.json")):
        board = json.loads(file.read_text())
        height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) * ROW
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + 44}" font-family="Inter, Segoe UI, Helvetica, Arial, sans-serif">',
            f"<title>{html.escape(board['title'])}</title>",
            f'<rect width="{WIDTH}" height="{height + 44}" fill="{PAPER}"/>',
            text(12, 28, board["title"], 17, weight="600"),
            '<g transform="translate(0 42)">',
        ]
        for panel in board["panels"]:
            out += Panel(panel, prometheus).draw()
        target = OUTPUT / f"{file.stem}.svg"
        target.write_text("\n".join([*out, "</g>", "</svg>", ""]))
        print(target)


if __name__ == "__main__":
    main()
