"""Windows of load, and what they cost."""

import http.client
import pathlib
import shutil
import socket
import ssl
import statistics
import subprocess
import time

from . import load, process, proxies
from .process import Failed
from .tokens import Keys

QUIET = 0.06
"""The share of a core that others may take in a window that counts."""
TRIES = 3
PATIENCE = 60
"""Seconds to wait for others to be done."""
RATE = 10_000
"""Requests a second where latency is taken: at most half of what each proxy can do on its core. At twice as many, the load and
the API have too little of theirs, and their waits are taken for the proxy's."""
PORTS = 10_000
"""Connections that may have been closed lately, of the 28,000 that the system has ports for."""
IDLE_CONNECTIONS = 1000
WARM_UP = 4000
"""Tokens that are used up before a window of new ones."""


class Bench:
    """Keys, an API that runs, and the windows."""

    def __init__(self, folder, rounds, seconds, results):
        self.folder, self.rounds, self.seconds, self.results = folder, rounds, seconds, results
        folder.mkdir(parents=True, exist_ok=True)
        self.keys = Keys(folder)
        self.certificate, self.key = certificate(folder)
        self.pace = None
        self.api_port = process.free_port()
        place = self.fresh("api")
        self.api = process.Process(proxies.upstream(place, self.api_port), place, load.CORE, self.api_port)

    def end(self):
        self.api.stop()

    def fresh(self, name):
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place

    def scene(self, name):
        ports = process.free_port(), process.free_port()
        return proxies.Scene(self.fresh(name), *ports, self.api_port, self.keys, self.certificate, self.key)

    def start(self, proxy, case, configure=None):
        """(the running proxy, its scene), after it has shown that it does what the row says."""
        ports()
        scene = self.scene(proxy.name)
        files, arguments = (configure or proxy.configure)(scene, case)
        for name, text in files.items():
            (scene.folder / name).write_text(text)
        running = process.Process([proxy.program, *arguments], scene.folder, 0, scene.port)
        try:
            prove(self.keys, scene, case)
        except Failed as failed:
            running.stop()
            raise Failed(f"{proxy.name}, {case.name}: {failed}") from None
        return running, scene

    def compare(self, case, everyone):
        """One row: each proxy in each round, in another order each time."""
        print(f"{case.title}", flush=True)
        able = [proxy for proxy in everyone.values() if proxy.can(case)]
        measure = {"cpu": self.cpu, "memory": self.memory, "latency": self.latency}[case.measure]
        for number in range(self.rounds):
            turn = number % max(len(able), 1)
            for proxy in able[turn:] + able[:turn]:
                sample = self.sample(proxy, case, measure)
                self.results.add(case.name, proxy.name, sample)
                print(f"  {proxy.name:20} {told(sample)}", flush=True)

    def sample(self, proxy, case, measure):
        """One of a fresh process; of another one where others were busy and its tokens were used up."""
        for left in range(TRIES)[::-1]:
            running, scene = self.start(proxy, case)
            try:
                sample = measure(running, scene, case)
            except Failed as failed:
                raise Failed(f"{proxy.name}: {failed}\n{running.told()}") from None
            finally:
                running.stop()
            if sample.get("others", 0) < QUIET or not case.uses_up or not left:
                return sample
            print(f"  (others took {sample['others']:.0%} of a core; {left} tries left)", flush=True)
        return None

    def prove(self, cases, everyone):
        """Starts each as each row wants it, and lets it show what it refuses."""
        for case in cases:
            able = [proxy for proxy in everyone.values() if proxy.can(case)]
            for proxy in able:
                self.start(proxy, case)[0].stop()
            print(f"{case.title}: {', '.join(proxy.name for proxy in able)}", flush=True)

    def cpu(self, running, scene, case):
        send = self.sender(scene, case)
        send(0.5, 0, WARM_UP)
        return self.window(running, lambda: send(self.seconds, WARM_UP, 10**9), case)

    def sender(self, scene, case):
        """(seconds, first, count) -> what came of it."""
        if case.tls:
            token = self.keys.token(case.algorithm) if case.tokens == "one" else None
            return lambda seconds, *_: load.h2load(scene.port, max(1, round(seconds)), token)
        file = self.token_file(case)
        return lambda seconds, first, count: load.wrk(
            scene.port, max(1, round(seconds)), file, *((first, count) if case.uses_up else (0, 1))
        )

    def token_file(self, case):
        if case.tokens == "none":
            return None
        if case.tokens == "new":
            return self.keys.new(case.algorithm)
        if case.tokens == "refused":
            return self.keys.refused(case.algorithm)
        file = self.folder / f"{case.algorithm}{'.big' if case.big else ''}.one"
        file.write_text((self.keys.big if case.big else self.keys.token)(case.algorithm) + "\n")
        return file

    def window(self, running, send, case):
        """One sample; again where others were busy."""
        for left in range(TRIES)[::-1]:
            calm()
            before = running.cpu(), self.api.cpu(), process.busy(), time.monotonic_ns()
            loaded = send()
            cpu, api, (all_cores, steal), wall = running.cpu(), self.api.cpu(), process.busy(), time.monotonic_ns()
            cpu, api, wall = cpu - before[0], api - before[1], wall - before[3]
            others = all_cores - before[2][0] - cpu - api - loaded.cpu * 1e9 + (steal - before[2][1])
            if others / wall < QUIET or case.uses_up:
                break
            print(f"  (others took {others / wall:.0%} of a core; {left} tries left)", flush=True)
        wanted, other = (loaded.refused, loaded.ok) if case.status == 401 else (loaded.ok, loaded.refused)
        if other or not wanted:
            raise Failed(f"{case.name}: {other} of {loaded.requests} answers weren't {case.status}")
        memory, own = running.memory()
        return {
            "us": cpu / 1e3 / loaded.requests,
            "requests": loaded.requests,
            "rps": loaded.requests / loaded.seconds,
            "core": cpu / 1e9 / loaded.seconds,
            "others": others / wall,
            "kib": memory,
            "own_kib": own,
            "load": loaded.command,
            "proxy": " ".join(running.command),
        }

    def memory(self, running, scene, case):
        time.sleep(0.5)
        idle, idle_own = running.memory()
        clients = []
        try:
            get(clients, scene.port)
            one, _ = running.memory()
            for _ in range(IDLE_CONNECTIONS):
                get(clients, scene.port)
            time.sleep(0.5)
            full, full_own = running.memory()
        finally:
            for client in clients:
                client.close()
        return {
            "idle_kib": idle,
            "idle_own_kib": idle_own,
            "full_kib": full,
            "full_own_kib": full_own,
            "kib_a_connection": (full - one) / IDLE_CONNECTIONS,
            "proxy": " ".join(running.command),
        }

    def latency(self, running, scene, case, during=None):
        """At a fixed rate; `during` is called while it goes on."""
        self.pace = self.pace or load.Pace(self.folder)
        token = self.keys.token(case.algorithm) if case.jwt else None
        warm, _ = self.pace.start(scene.port, RATE, 1, token)
        self.pace.end(warm)
        before = process.busy()
        began = time.monotonic_ns()
        paced, command = self.pace.start(scene.port, RATE, self.seconds, token)
        if during:
            during(paced)
        sample = self.pace.end(paced)
        steal = (process.busy()[1] - before[1]) / (time.monotonic_ns() - began)
        return {**sample, "rate": RATE, "steal": steal, "load": command, "proxy": " ".join(running.command)}


def calm():
    """Waits until nobody else is busy, but not for ever."""
    for _ in range(PATIENCE * 5):
        before = process.busy()
        time.sleep(0.2)
        if sum(process.busy()) - sum(before) < 0.2e9 * 2 * QUIET and process.closed_lately() < PORTS:
            return


def ports():
    """Waits until there are some, but not for ever."""
    for _ in range(PATIENCE * 5):
        if process.closed_lately() < PORTS:
            return
        time.sleep(0.2)


def told(sample):
    if "us" in sample:
        return (
            f"{sample['us']:6.1f} µs  {sample['rps']:7.0f}/s  core {sample['core']:.0%}  others {sample['others']:.1%}"
        )
    if "p99" in sample:
        times = (
            f"{name} {sample[field]:.0f} µs" for name, field in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"))
        )
        return f"{'  '.join(times)} at {sample['rate']:.0f}/s"
    return f"{sample['idle_kib'] / 1024:.1f} MiB idle, {sample['kib_a_connection']:.1f} KiB a connection"


def get(clients, port):
    """One request over a connection that stays open."""
    client = socket.create_connection(("127.0.0.1", port), 5)
    clients.append(client)
    client.sendall(b"GET /api/orders HTTP/1.1\r\nHost: api.example\r\n\r\n")
    got = b""
    while not got.endswith(proxies.BODY.encode()):
        part = client.recv(4096)
        if not part:
            raise Failed(f"a connection was closed after {got[:100]}")
        got += part


def prove(keys, scene, case):
    """That this proxy enforces what the row says, and only that."""

    def ask(token, path="/api/orders"):
        if case.tls:
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            client = http.client.HTTPSConnection("127.0.0.1", scene.port, timeout=5, context=trusting)
        else:
            client = http.client.HTTPConnection("127.0.0.1", scene.port, timeout=5)
        client.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = client.getresponse()
        body = answer.read().decode()
        client.close()
        return answer.status, body

    def expect(what, got, wanted):
        if got not in wanted:
            raise Failed(f"{what} gives {got} instead of {wanted[0]}")

    good = (keys.big if case.big else keys.token)(case.algorithm)
    if not case.jwt:
        for token in (None, good):
            expect("an open route", ask(token), [(200, proxies.BODY)])
        return
    now = int(time.time())
    expect("a good token", ask(good), [(200, proxies.BODY)])
    expect("whom the API is told of", ask(good, "/api/subject"), [(200, "user-000000")])
    expect("no token", ask(None)[0], [401])
    expect("a bad signature", ask(keys.bad(case.algorithm))[0], [401])
    for claim, value in (("aud", "another"), ("iss", "https://another.example"), ("exp", now - 3600)):
        expect(f"a wrong {claim}", ask(keys.token(case.algorithm, **{claim: value}))[0], [401, 403])


def certificate(folder):
    pair = folder / "tls.crt", folder / "tls.key"
    if not all(file.exists() for file in pair):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-days", "3650", "-out", pair[0], "-keyout", pair[1]),
            ],
            check=True,
            capture_output=True,
        )
    return pair


def show(cases, everyone):
    """Prints each proxy's configuration for these rows."""
    here = pathlib.Path("…")
    keys = type("Keys", (), {"pem": {"RS256": here / "RS256.pem", "ES256": here / "ES256.pem"}, "jwks": {"keys": "…"}})
    keys.jwks_file = here / "keys.json"
    for case in cases:
        for proxy in everyone.values():
            if not proxy.can(case) or (proxy.kind == "haproxy" and case.tls):
                continue
            scene = proxies.Scene(here, 8080, 9901, 9000, keys, here / "tls.crt", here / "tls.key")
            files, arguments = proxy.configure(scene, case)
            for name, text in files.items():
                print(f"# {case.name}: {proxy.program} {' '.join(str(part) for part in arguments)}, {name}\n{text}")
