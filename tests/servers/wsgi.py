# A WSGI server, Python's own. What applications take for the path, each in its own way: `protected` if it is under /admin
# for one. `/headers` gives the identity headers as applications get them. Prints its port; ends with its input.

import os
import posixpath
import sys
import threading
from socketserver import ThreadingMixIn
from urllib.parse import unquote, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    path = environ['PATH_INFO']
    if path == '/headers':
        names = sorted(name for name in environ if name.startswith('HTTP_'))
        return [''.join(f'{name}={environ[name]}\n' for name in names).encode('latin-1')]
    readings = [path, posixpath.normpath(path)]
    # Frameworks that decode what WSGI has decoded.
    readings += [unquote(path), posixpath.normpath(unquote(path)), posixpath.join('/', unquote(path))]
    for sent in (environ['RAW_TARGET'].split('?')[0], urlsplit(environ['RAW_TARGET']).path):
        readings += [sent, unquote(sent), posixpath.normpath(unquote(sent))]
    for read in readings:
        if read == '/admin' or read.startswith('/admin/'):
            return [f'protected {read}'.encode('latin-1', 'replace')]
    return [f'open {path}'.encode('latin-1', 'replace')]


class Handler(WSGIRequestHandler):
    protocol_version = 'HTTP/1.0'

    def get_environ(self):
        environ = super().get_environ()
        environ['RAW_TARGET'] = self.requestline.split(' ')[1]
        return environ

    def log_message(self, *_):
        pass


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


server = make_server('127.0.0.1', 0, application, Server, Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
os._exit(0)
