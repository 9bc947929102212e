// The gateway's API: one way to ask, one kind of error, and the access key where the gateway wants one.

const KEY = "tandem-key";
let wanted = () => {};

/** What the gateway said in its one error shape, or what the network did. */
export class ApiError extends Error {
  constructor({ status, code, message, where = null, hint = null }) {
    super(message);
    Object.assign(this, { status, code, where, hint });
  }

  /** For people, in one line. */
  get text() {
    const place = this.where ? ` (${this.where})` : "";
    return this.hint ? `${this.message}${place}. ${this.hint}` : `${this.message}${place}`;
  }
}

/** Kept for this tab alone, and gone with it. */
export const key = {
  get() {
    return sessionStorage.getItem(KEY);
  },
  set(value) {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  },
};

/** Calls `listener` each time the gateway answers that it wants a key. */
export function onKeyWanted(listener) {
  wanted = listener;
}

function headers(more) {
  const value = key.get();
  return { Accept: "application/json", ...(value ? { Authorization: `Bearer ${value}` } : {}), ...more };
}

/** The response to a request.
 * @throws {ApiError} The gateway refused, or did not answer (status 0). */
export async function send(method, path, { body, type, more, signal, cache = "no-store" } = {}) {
  const json = body !== undefined && type === undefined;
  let response;
  try {
    response = await fetch(`.${path}`, {
      method,
      headers: headers({ ...(json ? { "Content-Type": "application/json" } : type ? { "Content-Type": type } : {}), ...more }),
      body: json ? JSON.stringify(body) : body,
      signal,
      cache,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ status: 0, code: "unreachable", message: "The gateway does not answer" });
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  if (response.status === 401) wanted();
  throw new ApiError({
    status: response.status,
    code: answer?.error?.code ?? "error",
    message: answer?.error?.message ?? `The gateway answered ${response.status}`,
    where: answer?.error?.where,
    hint: answer?.error?.hint,
  });
}

async function parsed(response) {
  return response.status === 204 ? null : response.json();
}

export const get = async (path, options) => parsed(await send("GET", path, options));
export const post = async (path, body = {}, options) => parsed(await send("POST", path, { body, ...options }));
export const patch = async (path, body) => parsed(await send("PATCH", path, { body }));
export const remove = async (path) => parsed(await send("DELETE", path));
export const runPath = (run) => `/v1/runs/${encodeURIComponent(run)}`;
