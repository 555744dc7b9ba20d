"""Results: kept as JSON, shown as Markdown."""

import datetime
import hashlib
import json
import os
import pathlib
import platform
import statistics
import subprocess

from .cases import ROWS
from .load import CONNECTIONS

ROOT = pathlib.Path(__file__).resolve().parents[3]
BEGIN, END = "<!-- What `benches/compare/run --publish` writes begins here. -->", "<!-- It ends here. -->"


def told(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip()


class Results:
    """Samples by row and proxy, with what they were taken on."""

    def __init__(self):
        self.about, self.samples, self.growth = {"runs": [], "versions": {}}, {}, {}
        self.new = 0
        """How many were added since it was read."""

    @classmethod
    def read(cls, file):
        results = cls()
        if file.exists():
            kept = json.loads(file.read_text())
            results.about, results.samples, results.growth = kept["about"], kept["samples"], kept["growth"]
        return results

    def begin(self, everyone, given):
        cpu = next(
            (line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if "model name" in line),
            "?",
        )
        self.about |= {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
            "commit": given.commit or told(["git", "rev-parse", "--short=12", "HEAD"]),
            "kernel": platform.release(),
            "cpu": cpu,
            "cores": os.cpu_count(),
        }
        self.about["versions"] |= {proxy.name: proxy.version() for proxy in everyone.values()}
        self.about.setdefault("binaries", {}).update(
            {
                name: hashlib.sha256(pathlib.Path(proxy.program).read_bytes()).hexdigest()
                for name, proxy in everyone.items()
            }
        )
        self.about["runs"].append(
            f"benches/compare/run --rounds {given.rounds} --seconds {given.seconds}"
            + (f" --only {given.only}" if given.only else "")
            + (f" --proxies {given.proxies}" if given.proxies else "")
        )

    def add(self, row, proxy, sample):
        self.samples.setdefault(row, {}).setdefault(proxy, []).append(sample)
        self.new += 1

    def grow(self, table, row, column, value, form):
        """One figure of how bearward's own cost grows."""
        cell = self.growth.setdefault(table, {}).setdefault(row, {}).setdefault(column, {"format": form, "values": []})
        cell["values"].append(value)
        self.new += 1

    def values(self, row, proxy, field):
        return [sample[field] for sample in self.samples.get(row, {}).get(proxy, []) if field in sample]

    def write(self, file):
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {"about": self.about, "samples": self.samples, "growth": self.growth}
        file.write_text(json.dumps(kept, indent=1, ensure_ascii=False).replace(str(ROOT) + "/", "") + "\n")
        file.with_suffix(".md").write_text(self.markdown())

    def publish(self, document, file):
        """Writes the tables into a document, between its marks."""
        before, begin, rest = document.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            raise SystemExit(f"{document} has no marks for results")
        source = f"\n(benches/results/{file.name} has the windows.)\n"
        document.write_text(f"{before}{begin}\n{self.markdown(source)}\n{end}{after}")

    def markdown(self, source=None):
        parts = [self.setting(source)]
        by_kind = {
            kind: [row for row in self.samples if ROWS[row].measure == kind] for kind in ("cpu", "memory", "latency")
        }
        if by_kind["cpu"]:
            parts.append("## CPU time a request, µs\n\nThe median of the windows (least–most).\n")
            parts.append(self.table(by_kind["cpu"], lambda samples: spread(samples, "us", "{:.1f}")))
            parts.append(
                "## Requests a second on one core\n\nThe load shares the second core with the API; in brackets, how "
            )
            parts[-1] += "busy the proxy's core was.\n"
            parts.append(self.table(by_kind["cpu"], throughput))
        if by_kind["memory"]:
            parts.append(self.memory())
        if by_kind["latency"]:
            parts.append(self.latency(by_kind["latency"]))
        if self.growth:
            parts.append("## How bearward's cost grows\n")
            parts += [self.grown(title, rows) for title, rows in self.growth.items()]
        return "\n".join(parts)

    @staticmethod
    def grown(title, rows):
        columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
        lines = [f"| {title} | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
        for row, cells in rows.items():
            shown = (cells.get(column, {"values": [], "format": ""}) for column in columns)
            lines.append(f"| {row} | " + " | ".join(spread_of(cell["values"], cell["format"]) for cell in shown) + " |")
        return "\n".join(lines) + "\n"

    def setting(self, source):
        about = self.about
        lines = [
            *([] if source else [f"# {about['date'][:10]}", ""]),
            f"{about['date'][:10]}, commit {about['commit']}, Linux {about['kernel']}, {about['cpu']}, {about['cores']} cores.",
            f"One worker on one core; the load ({CONNECTIONS} keep-alive connections) and the API (200 bytes a response) on",
            "the other.",
            "",
            *(f"- {name}: {version}" for name, version in about["versions"].items()),
            "",
            "```sh",
            *about["runs"],
            "```",
            *(["", *self.about["notes"]] if "notes" in self.about else []),
            source or "",
        ]
        return "\n".join(lines)

    def columns(self, rows):
        present = {proxy for row in rows for proxy in self.samples[row]}
        return [name for name in self.about["versions"] if name in present]

    def table(self, rows, cell):
        columns = self.columns(rows)
        lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
        for row in (row for row in ROWS if row in rows):
            cells = [cell(self.samples[row].get(name, [])) for name in columns]
            lines.append(f"| {ROWS[row].title} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def memory(self):
        fields = [
            ("idle, MiB", "idle_kib", 1024, "{:.1f}"),
            ("of which its own", "idle_own_kib", 1024, "{:.1f}"),
            ("with 1,000 idle connections, MiB", "full_kib", 1024, "{:.1f}"),
            ("an idle connection, KiB", "kib_a_connection", 1, "{:.1f}"),
        ]
        columns = self.columns(["memory"])
        lines = ["## Memory\n", "| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
        for title, field, unit, form in fields:
            cells = (
                spread_of([v / unit for v in self.values("memory", name, field)], form, short=True) for name in columns
            )
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def latency(self, rows):
        lines = ["## Latency at a fixed rate, µs\n", "| | proxy | requests a second | p50 | p99 | p99.9 | most |"]
        lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
        for row in rows:
            for name in self.columns([row]):
                cells = [f"{statistics.median(self.values(row, name, 'rate')):.0f}"]
                cells += [spread_of(self.values(row, name, field), "{:.0f}") for field in ("p50", "p99", "p999", "max")]
                lines.append(f"| {ROWS[row].title} | {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def spread(samples, field, form):
    return spread_of([sample[field] for sample in samples], form)


def spread_of(values, form, short=False):
    if not values:
        return "—"
    middle, least, most = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return middle if short or len(values) == 1 or least == most else f"{middle} ({least}–{most})"


def throughput(samples):
    if not samples:
        return "—"
    rps, core = (statistics.median(sample[field] for sample in samples) for field in ("rps", "core"))
    return f"{rps:,.0f} ({core:.0%})"
