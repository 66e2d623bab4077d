/** The worker's own answers, in the form the client asked for. */

const TITLES: Record<number, string> = {
  503: "We will be right back",
  504: "This is taking too long",
  508: "This request goes round in circles",
};

/** For how many seconds a client is asked to wait before it tries again. */
const RETRY_AFTER = 5;

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

function html(status: number, why: string, statusPage: string | undefined): string {
  const title = TITLES[status] ?? "Something went wrong";
  const page = statusPage == null ? "" : `<p><a href="${escaped(statusPage)}">How things are</a></p>`;
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">\
<title>${title}</title><style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem;\
color-scheme:light dark}</style><h1>${title}</h1><p>${status === 503 ? "Try again shortly." : "See whether it was done, then try again."}</p>\
${page}<small>${status}: ${escaped(why)}</small></html>\n`;
}

/** An answer of the worker itself. */
export function say(
  request: Request,
  status: number,
  service: string,
  why: string,
  statusPage: string | undefined,
): Response {
  const accept = request.headers.get("accept") ?? "";
  const headers = new Headers({ "cache-control": "no-store", "x-linkflow-answer": "worker" });
  if (status === 503) headers.set("retry-after", String(RETRY_AFTER));
  let text: string;
  if (accept.includes("text/html")) {
    headers.set("content-type", "text/html; charset=utf-8");
    text = html(status, `${service}: ${why}`, statusPage);
  } else if (accept.includes("json")) {
    headers.set("content-type", "application/json");
    text = `${JSON.stringify({ status, service, error: why, status_page: statusPage })}\n`;
  } else {
    headers.set("content-type", "text/plain; charset=utf-8");
    text = `${status}\n${service}: ${why}\n${statusPage == null ? "" : `${statusPage}\n`}`;
  }
  return new Response(request.method === "HEAD" ? null : text, { status, headers });
}
