"""How bearward's own cost grows: with routes, issuers, keys and tokens; what a start takes, and what a reload costs others."""

import http.client
import os
import subprocess
import time

from cryptography.hazmat.primitives.asymmetric import ec

from . import load, process, proxies, tokens
from .cases import ROWS as CASES

STARTS = 10
TOKENS = 100_000
EVERY = 1
"""Seconds between two changes while latency is taken."""


def ours(everyone):
    return [proxy for proxy in everyone.values() if proxy.kind == "bearward"]


def configured(**parts):
    """bearward's configuration with these parts, as far as they don't depend on the scene."""
    return lambda scene, case: proxies.bearward_with(scene, case, **parts)


def routes(count):
    """So many, of which one is asked for."""
    others = [
        f'  - {{name: r{number}, path: "/api/c{number}/{{id}}/**", upstream: api, allow: [{{scopes: ["c{number}:read"]}}]}}\n'
        for number in range(count - 2)
    ]
    asked = "  - {name: orders, path: /api/orders, upstream: api, allow: [{scopes: [orders:read]}]}\n"
    return "".join(others[: count // 2] + [asked] + others[count // 2 :])


def with_routes(bench, everyone):
    for proxy in ours(everyone):
        for _ in range(bench.rounds):
            for count in (10, 1_000, 10_000):
                case, label = CASES["repeated"], f"{proxy.name}, {count:,} routes"
                configure = configured(routes=routes(count))
                running, scene = bench.start(proxy, case, configure)
                try:
                    grow(bench, f"{label}: a request, µs", bench.cpu(running, scene, case)["us"])
                    grow(bench, f"{label}: memory, MiB", running.memory()[0] / 1024)
                finally:
                    running.stop()
                began = time.monotonic()
                check = [proxy.program, "check", "--config", "gateway.yaml"]
                subprocess.run(check, cwd=scene.folder, check=True, capture_output=True)
                grow(bench, f"{label}: `check`, ms", (time.monotonic() - began) * 1e3, "{:.0f}")
                grow(bench, f"{label}: from start to ready, ms", ready(bench, proxy, case, configure), "{:.0f}")


def start(bench, everyone):
    for proxy in ours(everyone):
        for _ in range(STARTS):
            grow(bench, f"{proxy.name}: from start to ready, ms", ready(bench, proxy, CASES["repeated"]), "{:.0f}")


def ready(bench, proxy, case, configure=None):
    """Milliseconds from its start until /readyz says 200."""
    scene = bench.scene("start")
    files, arguments = (configure or proxy.configure)(scene, case)
    for name, text in files.items():
        (scene.folder / name).write_text(text)
    began = time.monotonic()
    child = subprocess.Popen(
        ["taskset", "-c", "0", proxy.program, *arguments],
        cwd=scene.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while time.monotonic() - began < 30:
            try:
                if admin(scene.admin, "/readyz")[0] == 200:
                    return (time.monotonic() - began) * 1e3
            except OSError:
                pass
            time.sleep(0.001)
        raise process.Failed("bearward isn't ready after 30 s")
    finally:
        child.terminate()
        child.wait()


def admin(port, path):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read().decode()
    finally:
        client.close()


def metric(port, name):
    """The sum over a metric's series."""
    lines = admin(port, "/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def with_issuers(bench, everyone):
    case = CASES["new-es256"]
    for proxy in ours(everyone):
        for _ in range(bench.rounds):
            for count in (1, 100):
                others = "".join(
                    f"  other{number}: {{issuer: 'https://other{number}.example', audiences: [{tokens.AUDIENCE}], "
                    f"jwt: {{jwks_file: {bench.keys.jwks_file}}}}}\n"
                    for number in range(count - 1)
                )
                measured(bench, proxy, case, f"{count} issuers, new ES256 tokens", configured(issuers=others))


def with_keys(bench, everyone):
    """The key that is used is the last of so many."""
    case = CASES["new-es256"]
    kept = list(bench.keys.jwks["keys"])
    others = [tokens.jwk(ec.generate_private_key(ec.SECP256R1()), "ES256", f"other-{number}") for number in range(998)]
    try:
        for proxy in ours(everyone):
            for _ in range(bench.rounds):
                for keys in (kept[1:], others + kept):
                    bench.keys.publish(keys)
                    measured(bench, proxy, case, f"{len(keys):,} keys, new ES256 tokens")
    finally:
        bench.keys.publish(kept)


def measured(bench, proxy, case, what, configure=None):
    running, scene = bench.start(proxy, case, configure)
    try:
        grow(bench, f"{proxy.name}, {what}: a request, µs", bench.cpu(running, scene, case)["us"])
    finally:
        running.stop()


def with_tokens(bench, everyone):
    """Each of so many is in the cache."""
    case, file = CASES["new-es256"], bench.keys.new("ES256", TOKENS)
    for proxy in ours(everyone):
        for _ in range(bench.rounds):
            for count in (1, TOKENS):
                configure = configured(more="token_cache: {max_bytes: 256MiB}\n")
                running, scene = bench.start(proxy, case, configure)
                try:
                    before = running.memory()[0]
                    again = 0
                    while metric(scene.admin, "bearward_token_cache_entries") < count and again < 5:
                        load.wrk(scene.port, 12 if count > 1 else 1, file, 0, count)
                        again += 1
                    hits = metric(scene.admin, 'bearward_token_cache_requests_total{result="hit"}')
                    send = lambda: load.wrk(scene.port, bench.seconds, file, 0, count)
                    sample = bench.window(running, send, CASES["repeated"])
                    hits = metric(scene.admin, 'bearward_token_cache_requests_total{result="hit"}') - hits
                    if hits < sample["requests"] * 0.99:
                        raise process.Failed(f"only {hits:.0f} of {sample['requests']} tokens were in the cache")
                    label = f"{proxy.name}, {count:,} tokens in the cache"
                    grow(bench, f"{label}: a request, µs", sample["us"])
                    if count > 1:
                        grow(bench, f"{label}: memory for each, bytes", (sample["kib"] - before) * 1024 / count, "{:.0f}")
                finally:
                    running.stop()


def reload(bench, everyone):
    """Latency while nothing happens, while the configuration changes every second, and while keys do."""
    case = CASES["latency-jwt"]
    for proxy in ours(everyone):
        for _ in range(bench.rounds):
            for count in (10, 10_000):
                for what, change in (("undisturbed", None), ("configuration changed", touch_configuration), ("keys changed", touch_keys)):
                    if count > 10 and change is touch_keys:
                        continue
                    running, scene = bench.start(proxy, case, configured(routes=routes(count)))
                    try:
                        during = change and (lambda paced: again_and_again(change, bench, scene, paced))
                        sample = bench.latency(running, scene, case, during)
                        if change is touch_configuration:
                            wait_for_reload(scene)
                    finally:
                        running.stop()
                    label = f"{proxy.name}, {count:,} routes, {sample['rate']:.0f} requests a second, {what}"
                    for name, field in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999")):
                        grow(bench, f"{label}: {name}, µs", sample[field], "{:.0f}")


def wait_for_reload(scene):
    for _ in range(50):
        if metric(scene.admin, 'bearward_config_reloads_total{result="ok"}') >= 1:
            return
        time.sleep(0.1)
    raise process.Failed("the configuration was changed, but not read again")


def again_and_again(change, bench, scene, paced):
    number = 0
    while paced.poll() is None:
        time.sleep(EVERY)
        number += 1
        change(bench, scene, number)


def touch_configuration(bench, scene, number):
    file = scene.folder / "gateway.yaml"
    text = file.read_text().replace("X-Auth-Subject: subject", f"X-Auth-Subject: subject, X-Change: {{value: '{number}'}}")
    replace(file.with_name("next.yaml"), file, text if number == 1 else renumbered(file.read_text(), number))


def renumbered(text, number):
    return text.replace(f"value: '{number - 1}'", f"value: '{number}'")


def touch_keys(bench, scene, number):
    other = tokens.jwk(ec.generate_private_key(ec.SECP256R1()), "ES256", f"change-{number}")
    bench.keys.publish([*bench.keys.jwks["keys"], other])


def replace(temporary, file, text):
    temporary.write_text(text)
    os.replace(temporary, file)


def grow(bench, what, value, form="{:.1f}"):
    bench.results.grow(what, {"value": value, "format": form})
    print(f"  {what} {form.format(value)}", flush=True)


ROWS = {
    "start": start,
    "routes": with_routes,
    "issuers": with_issuers,
    "keys": with_keys,
    "tokens": with_tokens,
    "reload": reload,
}
