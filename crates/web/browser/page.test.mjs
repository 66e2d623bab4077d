/**
 * The status page in a browser: read by machines that know what people need, on a phone, in the dark, without scripts, with
 * the keyboard alone.
 *
 * The page is in the folder that `LINKFLOW_TEST_PAGE` names, the tools in that of `LINKFLOW_TEST_TOOLS`. With
 * `LINKFLOW_TEST_PICTURES`, pictures of it are kept there.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";
import { after, before, test } from "node:test";

const { LINKFLOW_TEST_PAGE: folder, LINKFLOW_TEST_TOOLS: tools, LINKFLOW_TEST_PICTURES: pictures } = process.env;
const require = createRequire(join(tools, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** The moment at which the page was checked, and a minute later. */
const CHECKED = Date.UTC(2026, 10, 29, 12);
const SOON = CHECKED + 60_000;

const PAGES = ["index.html", "component/api.html", "incident/20261129-Web.html", "maintenance/20261201-db.html",
  "history/2026-11.html", "404.html", "de/index.html",
  ...["form", "wrong", "sent", "confirm", "confirmed", "own", "end", "wrong-phone", "wrong-code"].map((name) => `subscribe/${name}.html`)];
const PHONE = { width: 320, height: 640 };
const TYPES = { ".html": "text/html; charset=utf-8", ".json": "application/json", ".svg": "image/svg+xml" };

let browser, server, at;

before(async () => {
  server = createServer((request, response) => {
    const path = normalize(new URL(request.url, "http://x").pathname);
    try {
      const body = readFileSync(join(folder, path === "/" ? "index.html" : path));
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/html; charset=utf-8" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  at = `http://127.0.0.1:${server.address().port}/`;
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
});

after(async () => {
  await browser?.close();
  server?.close();
});

/** Opens `path` as a reader with `options`, at `now`; every error of the page fails the test. */
async function open(path, options = {}, now = SOON) {
  const context = await browser.newContext({ timezoneId: "UTC", ...options });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("request", (request) => request.url().startsWith(at) || request.url().startsWith("data:") || errors.push(request.url()));
  await page.clock.setFixedTime(new Date(now));
  await page.goto(at + path);
  return { page, errors, close: () => context.close() };
}

/** What axe finds wrong, as lines. */
async function violations(page) {
  // The page's policy runs no script but its own; the tester's comes by another way.
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  return found.violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html} ${node.failureSummary}`));
}

for (const path of PAGES) {
  for (const colorScheme of ["light", "dark"]) {
    for (const viewport of [undefined, PHONE]) {
      test(`axe finds nothing wrong: ${path}, ${colorScheme}, ${viewport ? "phone" : "desk"}`, async () => {
        const { page, errors, close } = await open(path, { colorScheme, ...(viewport && { viewport }) });
        for (const details of await page.locator("details").all()) {
          await details.evaluate((one) => { one.open = true; });
        }
        assert.deepEqual(await violations(page), []);
        const [wide, seen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(wide <= seen, `it is ${wide} wide on a screen of ${seen}`);
        assert.deepEqual(errors, []);
        await close();
      });
    }
  }
}

test("without scripts everything is there", async () => {
  const { page, close } = await open("index.html", { javaScriptEnabled: false });
  assert.equal(await page.locator("h1").innerText(), "◐\nWeb is partly down");
  assert.match(await page.locator(".checked").innerText(), /29 November 2026, 12:00 UTC/);
  assert.ok(await page.getByText("Compare this time with your clock").isVisible());
  await page.locator("summary", { hasText: "Day by day" }).first().click();
  assert.ok(await page.getByRole("row", { name: /12 October 2026/ }).isVisible());
  await page.getByRole("link", { name: "API", exact: true }).click();
  assert.match(await page.locator("h1").innerText(), /API: Works/);
  await close();
});

test("a copy that gets no news says how old it is", async () => {
  const fresh = await open("index.html");
  assert.ok(await fresh.page.locator(".stale").isHidden());
  await fresh.close();
  const old = await open("index.html", {}, CHECKED + 42 * 60_000);
  assert.match(await old.page.locator(".stale").innerText(), /42 minutes old/);
  assert.deepEqual(old.errors, []);
  await old.close();
});

test("times are told in the reader's own zone as well", async () => {
  const { page, close } = await open("index.html", { timezoneId: "Asia/Tokyo", locale: "en" });
  assert.match(await page.locator(".checked").innerText(), /12:00 UTC.*9:00\sPM your time/);
  await close();
});

test("the keyboard alone is enough", async () => {
  const { page, close } = await open("index.html");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  const reached = new Set();
  for (let n = 0; n < 80; n++) {
    await page.keyboard.press("Tab");
    const [tag, text, visible] = await page.evaluate(() => {
      const one = document.activeElement;
      const style = getComputedStyle(one);
      return [one.tagName, one.innerText, style.outlineStyle !== "none"];
    });
    if (tag === "BODY") break;
    assert.ok(visible, `${tag} ${text} shows that it has the focus`);
    if (tag === "SUMMARY") {
      await page.keyboard.press("Enter");
      assert.ok(await page.evaluate(() => document.activeElement.parentElement.open), text);
    }
    reached.add(text.split("\n")[0].trim());
  }
  for (const name of ["Pages load for some only", "The database moves", "API", "Web", "History", "Deutsch"]) {
    assert.ok(reached.has(name), `${name} is reached: ${[...reached].join(" | ")}`);
  }
  await close();
});

test("what can be pressed is large enough", async () => {
  const { page, close } = await open("index.html", { viewport: PHONE });
  for (const one of await page.locator("nav a, summary, h3 a").all()) {
    const box = await one.boundingBox();
    assert.ok(box.height >= 24, `${await one.innerText()} is ${box.height} high`);
  }
  await close();
});

test("the form is filled in and sent without scripts, by keyboard", async () => {
  const { page, close } = await open("index.html", { javaScriptEnabled: false });
  let sent;
  await page.route("https://ops.shop.example/**", (route) => {
    sent = route.request();
    return route.fulfill({ status: 202, contentType: "text/html", body: "<title>sent</title>" });
  });
  await page.getByLabel("Mail address").focus();
  await page.keyboard.type("ann@example.com");
  await page.keyboard.press("Enter");
  await page.waitForURL("https://ops.shop.example/subscribe");
  assert.equal(sent.method(), "POST");
  assert.equal(sent.postData(), "language=en&address=ann%40example.com&phone=");
  await close();
});

test("colours that people chose themselves leave every state to be told", async () => {
  const { page, close } = await open("index.html", { forcedColors: "active" });
  assert.deepEqual(await page.locator(".row .mark").allInnerTexts(), ["✓\nWorks", "◐\nPartly down", "✓\nWorks"]);
  await close();
});

test("pictures are kept where they are asked for", { skip: !pictures }, async () => {
  const looks = [
    ["status-page", "index.html", { viewport: { width: 1000, height: 1300 } }],
    ["status-page-dark-phone", "index.html", { viewport: { width: 390, height: 1300 }, colorScheme: "dark" }],
    ["status-page-component", "component/api.html", { viewport: { width: 1000, height: 1300 }, colorScheme: "dark" }],
    ["status-page-form", "subscribe/form.html", { viewport: { width: 1000, height: 700 } }],
    ["status-page-own-dark-phone", "subscribe/own.html", { viewport: { width: 390, height: 700 }, colorScheme: "dark" }],
    ["status-page-incident", "incident/20261129-Web.html", { viewport: { width: 1000, height: 800 } }],
  ];
  for (const [name, path, options] of looks) {
    const { page, close } = await open(path, options);
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: name.includes("component") });
    await close();
  }
});
