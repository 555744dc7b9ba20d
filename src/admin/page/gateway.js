// The gateway that this page comes from: everything is asked of it, and of nobody else.

/** It wants a token, or another one than it got. */
export class TokenNeeded extends Error {}

/** It said no; `detail` says why. */
export class Refused extends Error {
  constructor(status, answer) {
    super(answer?.detail ?? `the gateway answered ${status}`);
    this.status = status;
    this.answer = answer;
  }
}

/** No answer came. */
export class Lost extends Error {}

const PATIENCE = 15_000;

// In memory alone. What is kept for the session can be read by whatever is served at this address and port later, and on
// loopback that may be another program; so a page that is loaded again asks again.
let token = null;

/** The token for what is asked from now on. */
export const present = (presented) => (token = presented);

/** Whether there is one. */
export const hasToken = () => token !== null;

async function send(method, path, body) {
  const headers = {};
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (answer.status === 401) throw new TokenNeeded();
    return { status: answer.status, ok: answer.ok, text: await answer.text() };
  } catch (error) {
    if (error instanceof TokenNeeded) throw error;
    throw new Lost("no answer came from the gateway");
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The text there. */
export async function text(path) {
  const answer = await send("GET", path);
  if (!answer.ok) throw new Refused(answer.status, parsed(answer.text));
  return answer.text;
}

/** The JSON there. */
export async function json(path) {
  return parsed(await text(path));
}

/** What comes of a POST, as JSON; null where there is nothing. */
export async function post(path, body) {
  const answer = await send("POST", path, body);
  if (!answer.ok) throw new Refused(answer.status, parsed(answer.text));
  return parsed(answer.text);
}

/** Takes away what is there. */
export async function remove(path) {
  const answer = await send("DELETE", path);
  if (!answer.ok) throw new Refused(answer.status, parsed(answer.text));
}
