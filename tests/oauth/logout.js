// A user who logs in at an authorization server (oidc-provider) and logs out there, with a client that has the gateway told of it.
// Says the server's address in a line of JSON, waits for the gateway's in a line, then goes through it. Fails if anything isn't as
// it should be.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import { Provider } from 'oidc-provider';

const AUDIENCE = 'urn:example:api';
const SECRET = 'a-secret-of-the-client-that-is-long-enough';
const CALLBACK = 'http://127.0.0.1:1/callback';
// Not known before the gateway runs.
const GATEWAY = 'http://gateway.example';

let gateway;
const told = [];

const server = createServer().listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'web',
      client_secret: SECRET,
      grant_types: ['authorization_code'],
      redirect_uris: [CALLBACK],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_post',
      backchannel_logout_uri: `${GATEWAY}/.well-known/bearward/logout/login`,
      backchannel_logout_session_required: true,
    },
  ],
  cookies: { keys: ['a'] },
  // Its own refuses addresses of this machine.
  fetch: async (url, { dispatcher, ...options }) => {
    const answer = await fetch(String(url).replace(GATEWAY, gateway), options);
    told.push(answer.status);
    return answer;
  },
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => AUDIENCE,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'items:read',
        audience: AUDIENCE,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});
server.on('request', provider.callback());

// A browser: cookies, and redirects within the server.
class Browser {
  #cookies = new Map();

  async ask(url, form) {
    let body = form && new URLSearchParams(form);
    for (let hops = 0; hops < 20; hops += 1) {
      const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ');
      const answer = await fetch(url, { method: body ? 'POST' : 'GET', body, headers: { cookie }, redirect: 'manual' });
      for (const line of answer.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
        if (value) this.#cookies.set(name, value);
        else this.#cookies.delete(name);
      }
      const location = answer.headers.get('location');
      if (!location) return { url, page: await answer.text(), status: answer.status };
      url = new URL(location, url).href;
      if (url.startsWith(CALLBACK)) return { url };
      body = undefined;
    }
    throw new Error('redirects without end');
  }
}

async function logIn(browser, user) {
  const verifier = randomBytes(32).toString('base64url');
  const query = new URLSearchParams({
    client_id: 'web',
    response_type: 'code',
    scope: 'openid items:read',
    redirect_uri: CALLBACK,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    resource: AUDIENCE,
  });
  let at = await browser.ask(`${issuer}/auth?${query}`);
  for (const form of [{ prompt: 'login', login: user, password: 'x' }, { prompt: 'consent' }]) {
    if (at.url.startsWith(CALLBACK)) break;
    at = await browser.ask(at.url, form);
  }
  const code = new URL(at.url).searchParams.get('code');
  assert.ok(code, JSON.stringify(at));
  return token({ grant_type: 'authorization_code', code, redirect_uri: CALLBACK, code_verifier: verifier, resource: AUDIENCE });
}

async function token(parameters) {
  const body = new URLSearchParams({ client_id: 'web', client_secret: SECRET, ...parameters });
  const answer = await fetch(`${issuer}/token`, { method: 'POST', body });
  const tokens = await answer.json();
  assert.equal(answer.status, 200, JSON.stringify(tokens));
  return tokens;
}

async function logOut(browser) {
  const { page } = await browser.ask(`${issuer}/session/end`);
  const [, xsrf] = /name="xsrf" value="([^"]+)"/.exec(page);
  return browser.ask(`${issuer}/session/end/confirm`, { xsrf, logout: 'yes' });
}

async function ask(path, { access_token }) {
  const answer = await fetch(gateway + path, { headers: { authorization: `Bearer ${access_token}` } });
  await answer.arrayBuffer();
  return answer.status;
}

console.log(JSON.stringify({ issuer, audience: AUDIENCE }));
const [line] = await once(createInterface({ input: process.stdin }), 'line');
gateway = line.trim();

const [joe, ann] = [new Browser(), new Browser()];
const [joes, anns] = [await logIn(joe, 'joe'), await logIn(ann, 'ann')];
assert.deepEqual([await ask('/items', joes), await ask('/items', anns)], [200, 200]);
// Its ID tokens are for the client that logout tokens are for, and open nothing.
assert.equal(await ask('/items', { access_token: joes.id_token }), 403);

await logOut(joe);
assert.deepEqual(told, [200]);
assert.deepEqual([await ask('/items', joes), await ask('/items', anns)], [401, 200]);
// Who comes again comes in again: an `iat` is a second.
await new Promise((resolve) => setTimeout(resolve, 1100));
const again = await logIn(joe, 'joe');
assert.deepEqual([await ask('/items', again), await ask('/items', joes)], [200, 401]);

await logOut(ann);
assert.deepEqual(told, [200, 200]);
assert.deepEqual([await ask('/items', again), await ask('/items', anns)], [200, 401]);

console.log('all is well');
server.close();
server.closeAllConnections();
process.exit(0);
