// Node's server. What applications take for the path, each in its own way: `protected` if it is under /admin for one.
// Prints its port; ends with its input.

const http = require('http');
const path = require('path');
const url = require('url');

const attempt = (read) => { try { return read(); } catch { return null; } };
const under = (read) => read === '/admin' || (read ?? '').startsWith('/admin/');

const server = http.createServer((request, response) => {
  const standard = attempt(() => new URL(request.url, 'http://localhost').pathname);
  const old = attempt(() => url.parse(request.url).pathname);
  const before = request.url.split('?')[0];
  const readings = [standard, old, before];
  for (const read of [standard, old, before]) {
    const decoded = attempt(() => decodeURIComponent(read));
    if (decoded === null) continue;
    // Servers of files: send, serve-static; on Windows too.
    readings.push(decoded, path.posix.normalize(decoded), path.posix.join('/', decoded));
    readings.push(path.win32.join('/', decoded).replaceAll('\\', '/'));
  }
  const found = readings.find(under);
  response.end(found === undefined ? `open ${standard}` : `protected ${found}`);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
