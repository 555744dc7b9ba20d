"""An API for tests: answers with what it was sent. `upstream.py FILE ADDRESS PORT [CERTIFICATE KEY]` writes its port to FILE.

POST /token answers as a token endpoint does. A path that ends in /slow is answered in two parts, with a second between them.
"""

import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"path": self.path, "headers": headers}).encode()
        self.answer(body, halves=self.path.endswith("/slow"))

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(json.dumps({"access_token": "of-the-gateway", "token_type": "Bearer", "expires_in": 300}).encode())

    def answer(self, body, halves=False):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if halves:
            self.wfile.write(body[:10])
            time.sleep(1)
            body = body[10:]
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main(file, address, port, certificate=None, key=None):
    server = Server((address, int(port)), Api)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with open(file, "w") as opened:
        opened.write(str(server.server_address[1]))
    server.serve_forever()


main(*sys.argv[1:])
