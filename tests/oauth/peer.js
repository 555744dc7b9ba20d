// An authorization server (oidc-provider) and a client (oauth4webapi) that know nothing of bearward. Says the server's address
// in a line of JSON, waits for the gateway's in a line, then asks through it. Fails if anything isn't as it should be.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import * as oauth from 'oauth4webapi';
import { Provider } from 'oidc-provider';

const AUDIENCE = 'urn:example:api';
const ALGORITHMS = ['ES256', 'Ed25519', 'RS256', 'PS256'];
const SECRET = 'a-secret-of-the-client-that-is-long-enough';

async function startServer() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'client',
        client_secret: SECRET,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        token_endpoint_auth_method: 'client_secret_post',
      },
    ],
    enabledJWA: { dPoPSigningAlgValues: ALGORITHMS },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      dPoP: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => AUDIENCE,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => ({
          scope: 'items:read',
          audience: AUDIENCE,
          accessTokenFormat: resource.endsWith('opaque') ? 'opaque' : 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  return { issuer, server };
}

const insecure = { [oauth.allowInsecureRequests]: true };

async function discover(issuer) {
  const url = new URL(issuer);
  return oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, insecure));
}

const client = { client_id: 'client' };

async function getToken(as, key, resource = AUDIENCE) {
  const DPoP = oauth.DPoP(client, key);
  const parameters = new URLSearchParams({ scope: 'items:read', resource });
  const auth = oauth.ClientSecretPost(SECRET);
  const response = await oauth.clientCredentialsGrantRequest(as, client, auth, parameters, { DPoP, ...insecure });
  const token = await oauth.processClientCredentialsResponse(as, client, response);
  assert.equal(token.token_type, 'dpop');
  return token.access_token;
}

// The status, or the challenges where there are some: the client throws them.
async function ask(token, url, DPoP, method = 'GET') {
  try {
    const response = await oauth.protectedResourceRequest(token, method, new URL(url), undefined, undefined, { DPoP, ...insecure });
    await response.arrayBuffer();
    return response.status;
  } catch (error) {
    if (error instanceof oauth.WWWAuthenticateChallengeError) return error;
    throw error;
  }
}

async function withNonce(token, url, DPoP) {
  const first = await ask(token, url, DPoP);
  if (typeof first === 'number') return { status: first, asked: 1 };
  assert.ok(oauth.isDPoPNonceError(first), JSON.stringify(first.cause));
  return { status: await ask(token, url, DPoP), asked: 2 };
}

function isChallenged(error, code) {
  assert.ok(error instanceof oauth.WWWAuthenticateChallengeError, `${error}`);
  const [challenge] = error.cause;
  assert.equal(challenge.scheme, 'dpop');
  assert.equal(challenge.parameters.error, code);
}

const { issuer, server } = await startServer();
console.log(JSON.stringify({ issuer, audience: AUDIENCE, secret: SECRET }));
const [line] = await once(createInterface({ input: process.stdin }), 'line');
const gateway = line.trim();

const as = await discover(issuer);
for (const alg of ALGORITHMS) {
  const key = await oauth.generateKeyPair(alg, { extractable: true });
  const token = await getToken(as, key);
  const DPoP = oauth.DPoP(client, key);
  for (const path of ['/items', '/items?a=b', '/it%65ms/x%20y', '/items/%C3%A9/../z']) {
    assert.equal(await ask(token, gateway + path, DPoP), 200, `${alg} ${path}`);
  }
  assert.equal(await ask(token, `${gateway}/items`, DPoP, 'DELETE'), 200);

  const thief = oauth.DPoP(client, await oauth.generateKeyPair(alg));
  isChallenged(await ask(token, `${gateway}/items`, thief), 'invalid_token');
  isChallenged(await ask(token, `${gateway}/items`, undefined), 'invalid_token');

  const { status, asked } = await withNonce(token, `${gateway}/nonced`, oauth.DPoP(client, key));
  assert.deepEqual({ status, asked }, { status: 200, asked: 2 }, alg);
  assert.equal(await ask(token, `${gateway}/scoped`, DPoP), 200);
}

// The server says whom an opaque token is bound to.
const key = await oauth.generateKeyPair('ES256');
const opaque = await getToken(as, key, `${AUDIENCE}:opaque`);
assert.ok(!opaque.includes('.'));
assert.equal(await ask(opaque, `${gateway}/opaque`, oauth.DPoP(client, key)), 200);
const thief = oauth.DPoP(client, await oauth.generateKeyPair('ES256'));
isChallenged(await ask(opaque, `${gateway}/opaque`, thief), 'invalid_token');

console.log('all is well');
server.close();
server.closeAllConnections();
process.exit(0);
