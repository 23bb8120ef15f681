// Calls of the server's API, and its errors as text.

const LONGEST_WAIT_MS = 10_000;

/** An error to show. `field` names the part of the request that was wrong, or is "". */
export class ApiError extends Error {
  constructor(message, field = "") {
    super(message);
    this.field = field;
  }
}

/**
 * Ask the server; a `body` makes it a POST. Throws an ApiError, or what `signal` was aborted with.
 * Returns the answer and `ms`, the time of the round trip as the browser sees it.
 */
export async function call(path, { body, signal } = {}) {
  const timeout = AbortSignal.timeout(LONGEST_WAIT_MS);
  const request = {
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    cache: "no-store",
  };
  if (body !== undefined) {
    request.method = "POST";
    request.headers = { "Content-Type": "application/json" };
    request.body = JSON.stringify(body);
  }
  try {
    const start = performance.now();
    const response = await fetch(path, request);
    const text = await response.text();
    const ms = performance.now() - start;
    if (!response.ok) throw refusal(response, text);
    return { answer: JSON.parse(text), ms };
  } catch (error) {
    if (signal?.aborted || error instanceof ApiError) throw error;
    const late = error.name === "TimeoutError";
    throw new ApiError(late ? "No answer within 10 seconds." : "The server does not answer.");
  }
}

/** Whether an error only says that a newer request took the place of this one. */
export function isAborted(error) {
  return error.name === "AbortError";
}

function refusal(response, text) {
  let detail;
  try {
    ({ detail } = JSON.parse(text));
  } catch {
    detail = null;
  }
  if (Array.isArray(detail) && detail.length) {
    const [first] = detail;
    const field = first.loc?.find((part) => part !== "body" && typeof part === "string") ?? "";
    return new ApiError(detail.map((one) => one.msg).join("; "), field);
  }
  const reason = typeof detail === "string" ? detail : response.statusText;
  return new ApiError(`The server answered ${response.status}: ${reason || "no reason given"}`);
}
