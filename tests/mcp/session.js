// A server and a client of the Model Context Protocol, and an authorization server, all of other people's making. Prints
// where the two servers are, reads where the gateway is, and then lets the client find its own way to a tool: from the
// challenge to the metadata, from there to the authorization server, and back with a token.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import {
  discoverAuthorizationServerMetadata,
  discoverOAuthProtectedResourceMetadata,
  extractWWWAuthenticateParams,
} from '@modelcontextprotocol/sdk/client/auth.js';
import { ClientCredentialsProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';

// Clients know the gateway by this name; `through` leads it to this machine.
const PUBLIC = 'https://mcp.example.com';

const listen = (handler) =>
  new Promise((resolve) => {
    const server = createServer((request, response) => {
      handler(request, response).catch((error) => {
        console.error(error);
        response.destroy();
      });
    });
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
  });

const text = async (request) => {
  let body = '';
  for await (const part of request) body += part;
  return body;
};

const json = (response, document, status = 200) => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(document));
};

// The authorization server: client credentials, for the resource and the scope that were asked for.
const { publicKey, privateKey } = await generateKeyPair('ES256');
const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256' };
const granted = [];
const issuer = await listen(async (request, response) => {
  const path = new URL(request.url, 'http://x').pathname;
  if (path === '/jwks') return json(response, { keys: [jwk] });
  if (path === '/token') {
    const form = new URLSearchParams(await text(request));
    granted.push(Object.fromEntries(form));
    const claims = { client_id: 'robot', scope: form.get('scope') ?? '' };
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid: 'k1', typ: 'at+jwt' })
      .setIssuer(issuer)
      .setSubject('robot-1')
      .setAudience(form.get('resource') ?? 'nobody')
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(privateKey);
    return json(response, { access_token: token, token_type: 'Bearer', expires_in: 300 });
  }
  if (path === '/.well-known/oauth-authorization-server' || path === '/.well-known/openid-configuration') {
    return json(response, {
      issuer,
      jwks_uri: `${issuer}/jwks`,
      token_endpoint: `${issuer}/token`,
      authorization_endpoint: `${issuer}/authorize`,
      response_types_supported: ['code'],
      grant_types_supported: ['client_credentials'],
      token_endpoint_auth_methods_supported: ['client_secret_basic'],
    });
  }
  return json(response, {}, 404);
});

// The MCP server: it asks nobody for a token, and knows its caller from what the gateway says.
const server = await listen(async (request, response) => {
  const mcp = new McpServer({ name: 'behind-the-gateway', version: '1.0.0' });
  mcp.registerTool('whoami', { description: 'Who calls' }, async ({ requestInfo }) => ({
    content: [{ type: 'text', text: `${requestInfo.headers['x-auth-subject']} ${requestInfo.headers.authorization}` }],
  }));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  response.on('close', () => transport.close());
  await mcp.connect(transport);
  await transport.handleRequest(request, response);
});

console.log(JSON.stringify({ issuer, server }));
const gateway = await new Promise((resolve) => createInterface({ input: process.stdin }).once('line', resolve));

const through = (url, init) => fetch(String(url).replace(PUBLIC, gateway), init);

// What discovery finds at each step.
const refused = await through(`${PUBLIC}/mcp`, { method: 'POST' });
assert.equal(refused.status, 401);
const { resourceMetadataUrl } = extractWWWAuthenticateParams(refused);
assert.equal(resourceMetadataUrl.href, `${PUBLIC}/.well-known/oauth-protected-resource/mcp`);
for (const options of [{ resourceMetadataUrl }, {}]) {
  const metadata = await discoverOAuthProtectedResourceMetadata(`${PUBLIC}/mcp`, options, through);
  assert.equal(metadata.resource, `${PUBLIC}/mcp`);
  assert.deepEqual(metadata.authorization_servers, [issuer]);
  assert.deepEqual(metadata.scopes_supported, ['mcp:tools']);
  assert.deepEqual(metadata.bearer_methods_supported, ['header']);
  const found = await discoverAuthorizationServerMetadata(metadata.authorization_servers[0], { fetchFn: through });
  assert.equal(found.token_endpoint, `${issuer}/token`);
}

// The same by a client that is told the server's address, its own secret and what to ask for, and nothing else.
const connect = async (path, scope) => {
  const authProvider = new ClientCredentialsProvider({ clientId: 'robot', clientSecret: 'secret', expectedIssuer: issuer, scope });
  const client = new Client({ name: 'robot', version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(new URL(PUBLIC + path), { authProvider, fetch: through }));
  return client;
};
for (const path of ['/mcp', '/quiet']) {
  granted.length = 0;
  const client = await connect(path, 'mcp:tools');
  const { tools } = await client.listTools();
  assert.deepEqual(tools.map((tool) => tool.name), ['whoami']);
  const said = await client.callTool({ name: 'whoami' });
  assert.equal(said.content[0].text, 'robot-1 undefined', 'the caller, and no token');
  assert.equal(granted.length, 1, 'one token is enough');
  assert.equal(granted[0].resource, PUBLIC + path);
  await client.close();
}

// With less than is needed, it is told what is missing, and where that is to be had.
const less = await through(`${issuer}/token`, {
  method: 'POST',
  body: new URLSearchParams({ grant_type: 'client_credentials', resource: `${PUBLIC}/quiet` }),
});
const { access_token } = await less.json();
const lacking = await through(`${PUBLIC}/quiet`, { method: 'POST', headers: { authorization: `Bearer ${access_token}` } });
assert.equal(lacking.status, 403);
const missing = extractWWWAuthenticateParams(lacking);
assert.deepEqual(
  [missing.error, missing.scope, missing.resourceMetadataUrl.href],
  ['insufficient_scope', 'mcp:tools', `${PUBLIC}/.well-known/oauth-protected-resource/quiet`],
);
const quiet = await discoverOAuthProtectedResourceMetadata(`${PUBLIC}/quiet`, missing, through);
assert.equal(quiet.scopes_supported, undefined);
console.log('done');
process.exit(0);
