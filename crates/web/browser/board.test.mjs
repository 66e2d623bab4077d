/**
 * The dashboard in a browser, over a real `linkflow up --rehearsal`: a provider dies and is seen to, an incident is taken, a
 * provider is drained, a release is put back; on a phone, in the dark, without scripts, with the keyboard alone.
 *
 * `LINKFLOW_TEST_PROGRAM` is the program, `LINKFLOW_TEST_TOOLS` the folder of the tools. The browser comes in at the socket of
 * the state folder, as its owner, by a way through that this file opens for as long as it lasts. With
 * `LINKFLOW_TEST_PICTURES`, pictures are kept there.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

const { LINKFLOW_TEST_PROGRAM: binary, LINKFLOW_TEST_TOOLS: tools, LINKFLOW_TEST_PICTURES: pictures } = process.env;
const require = createRequire(join(tools, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const STACK = `
[stack]
name = "shop"
[providers.a]
kind = "embedded"
[providers.b]
kind = "embedded"
[services.api]
image = "ghcr.io/acme/linkflow/api:1.0"
port = 8000
health = "/api/v1/health"
route = "shop.example"
runs_on = ["a", "b"]
start_within = "20s"
env = { LINKFLOW_SECRET = "\${secret.SHARED}", FRONTEND_ADDR = "127.0.0.1:1" }
[failover]
probe_every = "200ms"
probe_timeout = "200ms"
probe_in_doubt = "50ms"
look_every = "500ms"
[monitors.shop]
tcp = "127.0.0.1:9"
every = "1s"
timeout = "1s"
tags = ["shop"]
[maintenance.backup]
title = "Backups"
cron = "30 2 * * *"
time_zone = "Europe/Berlin"
lasts = "1h"
on = "service.api"
[heartbeats.backup]
every = "1h"
[alerts.team]
slack = "\${secret.SLACK_WEBHOOK}"
`;
const PHONE = { width: 390, height: 844 };
const PAGES = ["/", "/services/api", "/routes", "/monitors", "/monitors/monitor.shop", "/incidents", "/maintenance", "/events",
  "/releases", "/runs/run-000001", "/usage", "/certificates", "/addresses", "/drift", "/alerts", "/search?q=api", "/do/rollback?release=r1", "/do/drain?provider=a",
  "/do/failover?to=b&service=api", "/do/rotate?sort=heartbeat&name=backup", "/do/try?alert=team"];
/** How long something may take to be seen. */
const SOON = 30_000;

let folder, up, control, through, at, browser;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "linkflow-board-"));
  writeFileSync(join(folder, "linkflow.toml"), STACK);
  up = spawn(binary, ["up", "--rehearsal", "--listen", "127.0.0.1:0", "--json"], { cwd: folder, env: {}, stdio: ["ignore", "pipe", "ignore"] });
  control = await new Promise((resolve, reject) => {
    let text = "";
    up.stdout.on("data", (part) => {
      text += part;
      if (text.trimEnd().endsWith("\n}")) resolve(JSON.parse(text).result.control);
    });
    up.once("exit", (code) => reject(new Error(`it ended with ${code}: ${text}`)));
  });
  const socket = join(folder, ".linkflow/rehearsal/site.sock");
  through = createServer((one) => {
    const other = connect(socket);
    for (const [from, to] of [[one, other], [other, one]]) {
      from.pipe(to);
      from.on("error", () => to.destroy());
    }
  });
  await new Promise((resolve) => through.listen(0, "127.0.0.1", resolve));
  at = `http://127.0.0.1:${through.address().port}`;
  browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
});

after(async () => {
  await browser?.close();
  through?.close();
  if (up && up.exitCode === null) {
    const ended = new Promise((resolve) => up.once("exit", resolve));
    up.kill("SIGTERM");
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
});

/** Runs `linkflow` beside the one that serves. */
function linkflow(...words) {
  return execFileSync(binary, [...words, "--cloud", control], { cwd: folder, env: {}, encoding: "utf8" });
}

/** Opens `path`; every error of the page, and whatever it asks for elsewhere, is kept. */
async function open(path, options = {}) {
  const context = await browser.newContext({ timezoneId: "UTC", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(SOON);
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("request", (request) => request.url().startsWith(at) || request.url().startsWith("data:") || errors.push(request.url()));
  await page.goto(at + path);
  return { page, errors, close: () => context.close() };
}

/** What axe finds wrong, as lines. */
async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  return found.violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html} ${node.failureSummary}`));
}

/** Gives the reason and does what the page of confirmation shows. */
async function confirm(page, reason) {
  await page.getByLabel("Why", { exact: true }).fill(reason);
  await page.getByRole("button", { name: "Do it" }).click();
}

const cell = (page, provider, state) => page.locator(`td[data-cell="api/${provider}"][data-state="${state}"]`);

test("what happens is seen without a click, and done from the page", async () => {
  const { page, errors, close } = await open("/");
  await cell(page, "a", "up").waitFor();
  assert.match(await page.locator('td[data-cell="api/a"]').getAttribute("class"), /on/);

  linkflow("drill", "set", "a", "killed");
  // Down first, and what its provider says of it soon after.
  await page.locator('td[data-cell="api/a"]:not([data-state="up"])').waitFor();
  await page.locator('td.on[data-cell="api/b"]').waitFor();
  if (pictures) await page.screenshot({ path: join(pictures, "dashboard.png"), fullPage: true });

  // The monitor of nothing is down by now, and its incident is on top.
  await page.locator("#incidents a").first().click();
  await page.getByRole("button", { name: "Acknowledge" }).click();
  await page.locator("#taken", { hasText: "the owner of the state folder" }).waitFor();
  await page.getByLabel("Markdown").first().fill("Nothing listens there.");
  await page.getByRole("button", { name: "Say it" }).click();
  await page.locator("#said", { hasText: "Nothing listens there." }).waitFor();
  if (pictures) await page.screenshot({ path: join(pictures, "dashboard-incident.png"), fullPage: true });

  linkflow("drill", "clear");
  await page.goto(at);
  await cell(page, "a", "up").waitFor();
  await page.getByRole("link", { name: "Drain b" }).click();
  await confirm(page, "b is rebuilt");
  await page.locator("#alarms", { hasText: "b is drained" }).waitFor();
  await page.locator('td.on[data-cell="api/a"]').waitFor();
  await page.getByRole("link", { name: "Lift it" }).click();
  await confirm(page, "it is over");
  await page.waitForURL(`${at}/`);
  await page.waitForFunction(() => !document.querySelector("#alarms").innerText.includes("b is drained"));

  await page.goto(`${at}/releases`);
  await page.getByText("Deploy other images").click();
  await page.getByLabel("api", { exact: true }).fill(":1.1");
  await page.getByRole("button", { name: "Show what would be done" }).click();
  assert.match(await page.locator("main").innerText(), /deploy r2 of api on/);
  if (pictures) await page.screenshot({ path: join(pictures, "dashboard-plan.png"), fullPage: true });
  await confirm(page, "the new one");
  await page.waitForFunction(() => document.querySelector("#run [role=status]")?.innerText.includes("done"));
  await page.goto(`${at}/releases`);
  await page.getByRole("link", { name: "Roll back to r1" }).click();
  await confirm(page, "the old one was better");
  await page.waitForFunction(() => document.querySelector("#run [role=status]")?.innerText.includes("done"));
  await page.goto(`${at}/releases`);
  await page.locator("#r1", { hasText: "live" }).waitFor();
  assert.deepEqual(errors, []);
  await close();
});

for (const path of PAGES) {
  for (const [name, options] of [["light", {}], ["dark, phone", { colorScheme: "dark", viewport: PHONE }]]) {
    test(`axe finds nothing wrong: ${path}, ${name}`, async () => {
      const { page, errors, close } = await open(path, options);
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

test("without scripts everything is there and can be done", async () => {
  const { page, close } = await open("/", { javaScriptEnabled: false });
  await page.getByRole("link", { name: "Drain b" }).click();
  await confirm(page, "no script is needed");
  assert.match(await page.locator("#alarms").innerText(), /b is drained by the owner of the state folder.*no script is needed/);
  await page.getByRole("link", { name: "Lift it" }).click();
  await confirm(page, "it is over");
  await page.goto(`${at}/services/api`);
  await page.getByRole("link", { name: "Fail over to b" }).click();
  await page.getByLabel("For how long").selectOption({ label: "an hour" });
  if (pictures) await page.screenshot({ path: join(pictures, "dashboard-failover.png"), fullPage: true });
  await confirm(page, "a is slow");
  assert.match(await page.locator("#alarms").innerText(), /api was failed over to b by the owner of the state folder.*, until .*: a is slow/);
  for (let n = 0; n < 100 && !(await page.locator('td.on[data-cell="api/b"]').count()); n++) await page.reload();
  await page.locator('td.on[data-cell="api/b"]').waitFor();
  await page.getByRole("link", { name: "End it" }).click();
  await confirm(page, "it is over");
  assert.ok(!(await page.locator("#alarms").innerText()).includes("failed over"));
  await page.getByRole("link", { name: "Monitors", exact: true }).click();
  await page.getByLabel("Name or target").fill("shop");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.getByRole("link", { name: "monitor.shop" }).click();
  await page.getByText("The same as a table").click();
  assert.ok(await page.getByRole("group", { name: "Times as a table" }).isVisible());
  await close();
});

test("an address is copied, and made anew also without scripts", async () => {
  const { page, errors, close } = await open("/monitors", { permissions: ["clipboard-read", "clipboard-write"] });
  await page.keyboard.press("g");
  await page.keyboard.press("a");
  await page.waitForURL("**/addresses");
  const field = page.getByRole("textbox", { name: "Address of backup" });
  const before = await field.inputValue();
  await page.getByRole("button", { name: "Copy the address of backup" }).click();
  await page.getByRole("status").filter({ hasText: "Address of backup: copied" }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), before);
  if (pictures) await page.screenshot({ path: join(pictures, "dashboard-addresses.png"), fullPage: true });
  assert.deepEqual(errors, []);
  await close();

  const plain = await open("/addresses", { javaScriptEnabled: false });
  assert.equal(await plain.page.getByRole("button", { name: "Copy the address of backup" }).count(), 0);
  await plain.page.getByRole("link", { name: "Make it anew: the address of backup" }).click();
  await confirm(plain.page, "it was in a log");
  await plain.page.waitForURL("**/addresses");
  assert.notEqual(await plain.page.getByRole("textbox", { name: "Address of backup" }).inputValue(), before);
  assert.match(linkflow("events"), /made the UUID of the heartbeat backup anew: it was in a log/);
  await plain.close();
});

test("who is told is tried from the page, and seen in it", async () => {
  const { page, errors, close } = await open("/monitors");
  await page.keyboard.press("g");
  await page.keyboard.press("n");
  await page.waitForURL("**/alerts");
  // The monitor of nothing is down: its incident was told.
  await page.getByRole("row", { name: /sent.*team slack/ }).first().waitFor();
  if (pictures) await page.screenshot({ path: join(pictures, "dashboard-alerts.png"), fullPage: true });
  await page.getByRole("link", { name: "Try it: team" }).click();
  await confirm(page, "is it still there?");
  await page.getByRole("row", { name: /slack.*arrived/ }).waitFor();
  assert.deepEqual(await violations(page), []);
  assert.match(linkflow("access", "audit"), /try whether team is told +is it still there\?/);
  assert.deepEqual(errors, []);
  await close();
});

test("the keyboard alone is enough", async () => {
  const { page, errors, close } = await open("/");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("?");
  await page.locator("#help").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.press("e");
  await page.waitForURL("**/events");
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "q");
  await page.keyboard.type("drains");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/events\?q=drains/);
  await page.goto(`${at}/do/drain?provider=b`);
  for (let n = 0; n < 40; n++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.id) === "reason") break;
  }
  await page.keyboard.type("by keyboard");
  await page.keyboard.press("Enter");
  await page.locator("#alarms", { hasText: "by keyboard" }).waitFor();
  linkflow("undrain", "b", "--reason", "it is over");
  assert.deepEqual(errors, []);
  await close();
});

test("what can be pressed is large enough", async () => {
  const { page, close } = await open("/", { viewport: PHONE });
  for (const one of await page.locator("nav a, summary, button").all()) {
    if (!(await one.isVisible())) continue;
    const box = await one.boundingBox();
    assert.ok(box.height >= 24, `${await one.innerText()} is ${box.height} high`);
  }
  await close();
});

test("pictures are kept where they are asked for", { skip: !pictures }, async () => {
  const looks = [
    ["dashboard-dark", "/", { viewport: { width: 1200, height: 1000 }, colorScheme: "dark" }],
    ["dashboard-phone", "/", { viewport: PHONE, colorScheme: "dark" }],
    ["dashboard-monitor", "/monitors/monitor.shop", { viewport: { width: 1000, height: 1100 } }],
    ["dashboard-releases", "/releases", { viewport: { width: 1100, height: 900 } }],
  ];
  for (const [name, path, options] of looks) {
    const { page, close } = await open(path, options);
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: name === "dashboard-dark" });
    await close();
  }
});
