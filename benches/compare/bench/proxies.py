"""The proxies: how each is configured for a row, and started."""

import json
import pathlib
import re
import shutil
import subprocess
from dataclasses import dataclass

from . import tokens

BODY = "0123456789" * 20
"""What the API answers: 200 bytes."""
ENVOY = pathlib.Path(__file__).resolve().parents[3] / "target/proxies/bin/envoy"


@dataclass
class Scene:
    """What a proxy is put into: where it listens, whom it asks, which keys it goes by."""

    folder: pathlib.Path
    port: int
    admin: int
    upstream: int
    keys: tokens.Keys
    certificate: pathlib.Path
    key: pathlib.Path


@dataclass
class Proxy:
    """One column."""

    name: str
    kind: str
    program: str
    configure: callable
    """(scene, case) -> (files by name, arguments)."""
    verifies: bool
    version_of: list

    def can(self, case):
        """Whether the row is one of its own: without tokens to verify, a cache of them makes no difference."""
        return self.verifies if case.jwt else self.kind != "envoy-cache"

    def version(self):
        told = subprocess.run([self.program, *self.version_of], capture_output=True, text=True, check=False)
        return re.search(r"\d+\.\d+\.\d+[-+~.\w]*", told.stdout + told.stderr).group()


def upstream(folder, port):
    """The API: nginx with an answer of its own. `…/subject` tells whom it was told of."""
    text = f"""
worker_processes 1;
pid api.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 2000000000;
    keepalive_timeout 600s;
    large_client_header_buffers 8 128k;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "{BODY}"; }}
        location /api/subject {{ return 200 "$http_x_auth_subject"; }}
    }}
}}
"""
    (folder / "api.conf").write_text(text)
    return [shutil.which("nginx"), "-p", folder, "-e", "stderr", "-c", "api.conf", "-g", "daemon off;"]


def nginx(scene, case):
    tls = f"ssl_certificate {scene.certificate}; ssl_certificate_key {scene.key};" if case.tls else ""
    text = f"""
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log {"access.log combined" if case.log else "off"};
    keepalive_requests 2000000000;
    keepalive_timeout 600s;
    {"large_client_header_buffers 4 64k;" if case.big else ""}
    upstream api {{
        server 127.0.0.1:{scene.upstream};
        keepalive 64;
        keepalive_requests 2000000000;
    }}
    server {{
        listen 127.0.0.1:{scene.port}{" ssl http2" if case.tls else ""} backlog=4096;
        {tls}
        location / {{
            proxy_pass http://api;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
        }}
    }}
}}
"""
    return {"nginx.conf": text}, ["-p", ".", "-e", "stderr", "-c", "nginx.conf", "-g", "daemon off;"]


def haproxy(scene, case):
    combined = ""
    if case.tls:
        pem = scene.folder / "tls.pem"
        pem.write_text(scene.certificate.read_text() + scene.key.read_text())
        combined = f" ssl crt {pem} alpn h2,http/1.1"
    refuse = "http-request deny deny_status 401"
    rules = f"""
    http-request set-var(txn.bearer) http_auth_bearer
    http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
    http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
    http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud')
    http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    {refuse} unless {{ var(txn.alg) -m str {case.jwt} }}
    {refuse} unless {{ var(txn.iss) -m str {tokens.ISSUER} }}
    {refuse} unless {{ var(txn.aud) -m str {tokens.AUDIENCE} }}
    {refuse} if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
    {refuse} unless {{ var(txn.bearer),jwt_verify(txn.alg,"{scene.keys.pem.get(case.jwt)}") -m int 1 }}
    http-request set-header X-Auth-Subject %[var(txn.bearer),jwt_payload_query('$.sub')]
"""
    text = f"""
global
    nbthread 1
    maxconn 8000
    {"tune.bufsize 131072" if case.big else ""}
    {"log stdout format raw local0" if case.log else ""}

defaults
    mode http
    timeout client 600s
    timeout http-keep-alive 600s
    timeout server 60s
    timeout connect 2s
    option forwardfor
    http-reuse always
    {"log global" if case.log else ""}
    {"option httplog" if case.log else ""}

frontend public
    bind 127.0.0.1:{scene.port} backlog 4096{combined}
    http-request set-header X-Forwarded-Proto {"https" if case.tls else "http"}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
{rules if case.jwt else ""}
    default_backend api

backend api
    server api 127.0.0.1:{scene.upstream}
"""
    return {"haproxy.cfg": text}, ["-db", "-f", "haproxy.cfg"]


def envoy(cache):
    def configure(scene, case):
        return {"envoy.json": json.dumps(envoy_config(scene, case, cache), indent=1)}, [
            *("-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart", "-l", "error"),
        ]

    return configure


def envoy_config(scene, case, cache):
    kinds = "type.googleapis.com/envoy.extensions"
    provider = {
        "issuer": tokens.ISSUER,
        "audiences": [tokens.AUDIENCE],
        "local_jwks": {"inline_string": json.dumps(scene.keys.jwks)},
        "forward": True,
        "claim_to_headers": [{"header_name": "X-Auth-Subject", "claim_name": "sub"}],
    }
    if cache:
        # By default it remembers 100 tokens, of 4 KiB at most.
        provider["jwt_cache_config"] = {"jwt_cache_size": 50_000, "jwt_max_token_size": 65_536}
    jwt = {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": f"{kinds}.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{kinds}.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": f"{kinds}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "public",
        "use_remote_address": True,
        "http_filters": ([jwt] if case.jwt else []) + [router],
        "route_config": {
            "virtual_hosts": [
                {"name": "api", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "api"}}]}
            ]
        },
    }
    if case.big:
        manager["max_request_headers_kb"] = 128
    if case.log:
        file = {"@type": f"{kinds}.access_loggers.file.v3.FileAccessLog", "path": str(scene.folder / "access.log")}
        manager["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": file}]
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if case.tls:
        pair = {"certificate_chain": {"filename": str(scene.certificate)}, "private_key": {"filename": str(scene.key)}}
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{kinds}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [pair]},
            },
        }
    cluster = {
        "name": "api",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": "api",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(scene.upstream)}}]}],
        },
    }
    listener = {"name": "public", "address": address(scene.port), "filter_chains": [chain], "tcp_backlog_size": 4096}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def bearward(scene, case):
    return bearward_with(scene, case)


def bearward_with(scene, case, issuers="", routes="", more=""):
    """What each row is measured with; and with more issuers or routes before what it is measured with."""
    tls = f", tls: {{certificate: {scene.certificate}, key: {scene.key}}}" if case.tls else ""
    text = f"""
listen: [{{address: "127.0.0.1:{scene.port}"{tls}}}]
admin: {{address: "127.0.0.1:{scene.admin}"}}
server: {{workers: 1, idle_timeout: 600s}}
logging: {{access: {"true" if case.log else "false"}}}
issuers:
{issuers}  bench:
    issuer: {tokens.ISSUER}
    audiences: [{tokens.AUDIENCE}]
    jwt: {{jwks_file: {scene.keys.jwks_file}}}
identity:
  headers: {{X-Auth-Subject: subject}}
{more}upstreams:
  api: {{url: "http://127.0.0.1:{scene.upstream}"}}
routes:
{routes}  - name: api
    path: /api/**
    upstream: api
    allow: {"authenticated" if case.jwt else "public"}
"""
    return {"gateway.yaml": text}, ["run", "--config", "gateway.yaml"]


PROXIES = ["bearward", "nginx", "haproxy", "envoy", "envoy-cache"]


def everyone(binaries):
    """All columns, with these bearwards by name."""
    ours = [Proxy(name, "bearward", path, bearward, True, ["--version"]) for name, path in binaries.items()]
    others = [
        Proxy("nginx", "nginx", shutil.which("nginx"), nginx, False, ["-v"]),
        Proxy("haproxy", "haproxy", shutil.which("haproxy"), haproxy, True, ["-v"]),
        Proxy("envoy", "envoy", shutil.which("envoy") or str(ENVOY), envoy(False), True, ["--version"]),
        Proxy("envoy-cache", "envoy-cache", shutil.which("envoy") or str(ENVOY), envoy(True), True, ["--version"]),
    ]
    return {proxy.name: proxy for proxy in ours + others if proxy.program and pathlib.Path(proxy.program).exists()}
