/** What the worker changes in the heads of requests and answers. The same as the edge's `head.rs`, as far as a worker may. */

/** Names the stacks whose worker a request has passed, so that it does not go round in circles. */
const PASSED = "x-linkflow-passed";

/** Whether the worker of `stack` has seen the request before. */
export function hasPassed(headers: Headers, stack: string): boolean {
  return (headers.get(PASSED) ?? "").split(",").some((name) => name.trim() === stack);
}

/** Makes a client's headers into those for a target. */
export function requestHeaders(request: Request, url: URL, stack: string): Headers {
  const headers = new Headers(request.headers);
  headers.append(PASSED, stack);
  const client = headers.get("cf-connecting-ip");
  const before = headers.get("x-forwarded-for");
  if (client !== null && before?.split(",").at(-1)?.trim() !== client) headers.append("x-forwarded-for", client);
  headers.set("x-forwarded-host", url.host);
  headers.set("x-forwarded-proto", url.protocol.slice(0, -1));
  if (!/^[!-~]{1,128}$/.test(headers.get("x-request-id") ?? "")) {
    headers.set("x-request-id", crypto.randomUUID().replaceAll("-", ""));
  }
  return headers;
}

/** Makes a target's answer into one for the client, its body untouched. `provider`: who answered, when that is to be told. */
export function answer(reply: Response, address: string, url: URL, provider: string | undefined): Response {
  if (reply.status === 101) return reply;
  const response = new Response(reply.body, reply);
  // It names other ways to reach the provider, round the worker.
  response.headers.delete("alt-svc");
  const home = rehome(response.headers.get("location"), address, url);
  if (home != null) response.headers.set("location", home);
  if (provider != null) response.headers.set("x-linkflow-target", provider);
  return response;
}

/** A redirect to the target's own name leads past the worker: it is made to lead to the name that was asked for. */
export function rehome(to: string | null, address: string, url: URL): string | undefined {
  const authority = address.replace(/^https?:\/\//, "");
  const rest = to?.match(/^https?:\/\/(.*)$/s)?.[1];
  if (!rest?.startsWith(authority)) return undefined;
  const path = rest.slice(authority.length);
  return path === "" || "/?#".includes(path[0]!) ? `${url.origin}${path}` : undefined;
}
