// Requests to the API. Sign-in and reconnecting are decided by who sets `hooks`.

import { heardClock } from "./dom.js";

export const hooks = {
  signIn: async () => {},      // resolves once somebody is signed in
  reached: () => {},           // told whether the server could be reached
  scanned: () => {},           // told when the server last looked for what fell due
};

export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
    this.sentence = sentence;
  }
}

const kept = new Map();  // path -> {etag, body} of answers that come with an ETag

async function send(method, path, body, signIn) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-Cronwatch"] = "1";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const known = method === "GET" && kept.get(path);
  if (known) headers["If-None-Match"] = known.etag;
  let reply, given;
  try {
    // Relative to the page: a proxy may serve it below a path.
    reply = await fetch(path.slice(1), { method, headers, credentials: "same-origin", cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body) });
    given = reply.status === 304 ? known.body : await reply.json();
  } catch {
    const gateway = reply && reply.status >= 502;  // a proxy speaks for a server that is away
    if (!reply || gateway || reply.ok) hooks.reached(false);
    throw new Refusal(0, reply && !gateway ? `The server answered ${reply.status}` : "The server cannot be reached");
  }
  heardClock(reply.headers.get("Date"));
  hooks.reached(true);
  const scanned = reply.headers.get("X-Scanned-At");
  if (scanned) hooks.scanned(scanned);
  if (reply.status === 401 && signIn) {
    await hooks.signIn();
    return send(method, path, body, signIn);
  }
  if (!reply.ok && reply.status !== 304) {
    const wait = reply.headers.get("Retry-After");
    const sentence = given.error === "Not Found" || typeof given.error !== "string" ? given.message : given.error;
    throw new Refusal(reply.status, `${sentence || `The server answered ${reply.status}`}${wait ? ` – try again in ${wait} s` : ""}`);
  }
  const etag = reply.headers.get("ETag");
  if (method === "GET" && etag && reply.status === 200) {
    if (kept.size > 20) kept.clear();
    kept.set(path, { etag, body: given });
  }
  return given;
}

export const get = path => send("GET", path, undefined, true);
export const post = (path, body = {}) => send("POST", path, body, true);
export const patch = (path, body) => send("PATCH", path, body, true);
export const del = path => send("DELETE", path, undefined, true);
export const openSession = body => send("POST", "/api/v1/session", body, false);
export const forget = () => kept.clear();

export const monitorPath = (id, ...more) => ["/api/v1/heartbeats", encodeURIComponent(id), ...more].join("/");

export function query(given) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(given)) {
    for (const one of [value].flat()) if (one !== undefined && one !== null && one !== "") words.append(name, one);
  }
  return `${words}` && `?${words}`;
}
