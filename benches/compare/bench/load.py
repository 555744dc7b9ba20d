"""Requests: wrk over HTTP/1.1, h2load over HTTP/2, and `pace.rs` at a fixed rate."""

import json
import pathlib
import re
import resource
import subprocess
from dataclasses import dataclass

from .process import Failed

HERE = pathlib.Path(__file__).resolve().parent
CONNECTIONS = 32
CORE = 1


@dataclass
class Loaded:
    """What came of a window."""

    requests: int
    seconds: float
    ok: int
    refused: int
    cpu: float
    """Seconds that the program which makes the load took."""
    command: str


def run(command):
    """(what it printed, seconds of CPU)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["taskset", "-c", str(CORE), *(str(part) for part in command)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise Failed(f"{' '.join(command)[:300]}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def shown(command):
    """A command as it is reported: long values are cut."""
    return " ".join(part if len(part) < 100 else part[:40] + "…" for part in (str(part) for part in command))


def wrk(port, seconds, tokens=None, first=0, count=1):
    """Requests over 32 keep-alive connections, each with the answer to the one before."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", HERE / "load.lua"]
    command += [f"http://127.0.0.1:{port}/api/orders"]
    command += ["--", tokens, first, count] if tokens else []
    text, cpu = run(command)
    result = json.loads(re.search(r"^RESULT (.*)$", text, re.M).group(1))
    if result["broken"]:
        raise Failed(f"{shown(command)}: {result['broken']} connections broke")
    requests, refused = result["requests"], result["refused"]
    return Loaded(requests, result["microseconds"] / 1e6, requests - refused, refused, cpu, shown(command))


def h2load(port, seconds, token=None):
    """Requests over 8 connections with 4 streams each."""
    command = ["h2load", "-t1", "-c8", "-m4", f"--duration={seconds}"]
    command += ["-H", f"authorization: Bearer {token}"] if token else []
    command += [f"https://127.0.0.1:{port}/api/orders"]
    text, cpu = run(command)
    if "Application protocol: h2" not in text:
        raise Failed(f"{shown(command)} speaks another protocol")
    ok, refused, failed = (
        int(re.search(pattern, text).group(1)) for pattern in (r"(\d+) 2xx", r"(\d+) 4xx", r"(\d+) failed,")
    )
    if failed:
        raise Failed(f"{shown(command)}: {failed} failed")
    return Loaded(ok + refused, float(seconds), ok, refused, cpu, shown(command))


class Pace:
    """Requests at a fixed rate, with the time that each took from when it was due."""

    def __init__(self, folder):
        self.program = folder / "pace"
        source = HERE.parent / "pace.rs"
        if not self.program.exists() or self.program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["rustc", "--edition=2024", "-O", "-o", self.program, source], check=True)

    def start(self, port, rate, seconds, token=None, connections=64):
        """(the running program, its command as it is reported)."""
        command = [self.program, f"127.0.0.1:{port}", "/api/orders", str(rate), str(seconds), str(connections)]
        command += [token] if token else []
        told = shown(["pace", *command[1:]])
        command = ["taskset", "-c", str(CORE), *command]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True), told

    @staticmethod
    def end(running):
        text, _ = running.communicate()
        if running.returncode:
            raise Failed(f"pace: {text}")
        return json.loads(text)
