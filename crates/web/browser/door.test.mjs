/**
 * Coming into the operators' site with a browser: by a link, a password, a code, a passkey; on a phone, in the dark, without
 * scripts, with the keyboard alone; read by machines that know what people need.
 *
 * A real `linkflow up` serves it: the program that `LINKFLOW_TEST_PROGRAM` names. The tools are in the folder of
 * `LINKFLOW_TEST_TOOLS`. With `LINKFLOW_TEST_PICTURES`, pictures of the pages are kept there.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

const { LINKFLOW_TEST_PROGRAM: program, LINKFLOW_TEST_TOOLS: tools, LINKFLOW_TEST_PICTURES: pictures } = process.env;
const require = createRequire(join(tools, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const PHONE = { width: 320, height: 640 };
const PASSWORD = "correct horse battery staple";

/** The site, its first link, and what earlier tests leave for later ones: a session, codes, the secret of the app. */
let browser, server, folder, at, link, session, codes, secret;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "linkflow-door-"));
  writeFileSync(join(folder, "linkflow.toml"), '[stack]\nname = "shop"\n');
  const stdio = ["ignore", "pipe", "inherit"];
  server = spawn(program, ["up", "--listen", "127.0.0.1:0"], { cwd: folder, stdio });
  for await (const line of createInterface({ input: server.stdout })) {
    if (line.includes("/setup/")) {
      link = line.trim();
      break;
    }
  }
  at = new URL(link).origin;
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
});

after(async () => {
  await browser?.close();
  if (server && server.exitCode === null) {
    server.kill("SIGTERM");
    await once(server, "exit");
  }
  if (folder) rmSync(folder, { recursive: true });
});

/** A page of a reader with `options`; every error of a page fails the test, but answers that refuse. */
async function reader(options = {}) {
  const context = await browser.newContext({ timezoneId: "UTC", ...options });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (one) => one.type() === "error" && !/status of 4\d\d/.test(one.text()) && errors.push(one.text()));
  page.on("request", (request) => request.url().startsWith(at) || request.url().startsWith("data:") || errors.push(request.url()));
  return { page, context, close: async () => { assert.deepEqual(errors, []); await context.close(); } };
}

/** A reader who is signed in, by what an earlier test left. */
const signedIn = (options = {}) => reader({ storageState: session, ...options });

/** What axe finds wrong, as lines. */
async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  return found.violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html} ${node.failureSummary}`));
}

/** The code that an app shows, so many steps of 30 seconds from now (RFC 6238). */
function code(key, steps = 0) {
  const bits = [...key].map((char) => "abcdefghijklmnopqrstuvwxyz234567".indexOf(char).toString(2).padStart(5, "0")).join("");
  const bytes = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const tag = createHmac("sha1", bytes).update(counter).digest();
  const offset = tag[19] & 15;
  return String((tag.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

/** An authenticator like that of a phone, which knows its owner. */
async function authenticator(context, page) {
  const client = await context.newCDPSession(page);
  await client.send("WebAuthn.enable");
  await client.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
}

async function signIn(page, name = "ann") {
  await page.goto(`${at}/sign-in?next=/account`);
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

async function picture(page, name) {
  if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

test("strangers see nothing but the way in", async () => {
  const { page, close } = await reader();
  await page.goto(`${at}/people`);
  assert.equal(page.url(), `${at}/sign-in?next=/people`);
  assert.deepEqual(await violations(page), []);
  await close();
});

test("the first person comes in by the link, without scripts, and the link is good no more", async () => {
  const { page, context, close } = await reader({ javaScriptEnabled: false, viewport: PHONE });
  await page.goto(link);
  assert.ok(await page.getByRole("button", { name: "Come in with a passkey" }).isHidden());
  await page.getByLabel("Your name").fill("ann");
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByLabel("The same again").fill("something else entirely");
  await page.getByRole("button", { name: "Come in" }).click();
  assert.match(await page.getByRole("alert").first().innerText(), /not the same/);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByLabel("The same again").fill(PASSWORD);
  await page.getByRole("button", { name: "Come in" }).click();
  assert.match(await page.getByRole("status").innerText(), /You are in/);
  assert.equal(await page.locator("h1").innerText(), "ann");
  await page.getByRole("button", { name: "Sign out" }).click();
  assert.equal(page.url(), `${at}/sign-in`);
  assert.deepEqual(await context.cookies(), []);
  await page.goto(link);
  assert.match(await page.locator("main").innerText(), /not good any more/);
  await close();
});

test("a wrong password is told to everybody alike", async () => {
  const { page, close } = await reader();
  await page.goto(`${at}/sign-in`);
  for (const name of ["ann", "nobody"]) {
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Password").fill("not this one at all");
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    assert.equal(await page.locator("#wrong").innerText(), "The name or the password is not right.");
    assert.deepEqual(await violations(page), []);
  }
  await close();
});

test("an app is set up by its QR code, and its code is asked from then on", async () => {
  const { page, context, close } = await reader();
  await signIn(page);
  await page.getByRole("button", { name: "Set it up" }).click();
  assert.ok(await page.getByRole("img", { name: "QR code" }).isVisible());
  assert.deepEqual(await violations(page), []);
  await picture(page, "door-account-app");
  secret = (await page.locator("#app code").innerText()).replaceAll(" ", "");
  await page.getByLabel("Code", { exact: true }).fill(code(secret));
  await page.getByRole("button", { name: "Switch it on" }).click();
  codes = await page.locator(".codes li").allInnerTexts();
  assert.equal(codes.length, 10);
  assert.deepEqual(await violations(page), []);
  await picture(page, "door-account-codes");
  await page.goto(`${at}/account`);
  assert.equal(await page.locator(".codes").count(), 0, "they are shown once");
  await page.getByRole("button", { name: "Sign out" }).click();
  await signIn(page);
  assert.equal(page.url(), `${at}/sign-in/code`);
  assert.deepEqual(await violations(page), []);
  await picture(page, "door-code");
  await page.getByLabel("Code of your authenticator app").fill("000000");
  await page.getByRole("button", { name: "Go on" }).click();
  assert.match(await page.getByRole("alert").innerText(), /not right/);
  await page.getByLabel("Code of your authenticator app").fill(code(secret, 1));
  await page.getByRole("button", { name: "Go on" }).click();
  assert.equal(page.url(), `${at}/account`);
  session = await context.storageState();
  await close();
});

test("a recovery code stands in, with the keyboard alone", async () => {
  const { page, close } = await reader();
  await page.goto(`${at}/sign-in?next=/account`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  for (const [id, text] of [["name", "ann"], ["password", PASSWORD]]) {
    const [held, ring] = await page.evaluate(() => [document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]);
    assert.deepEqual([held, ring], [id, "solid"]);
    await page.keyboard.type(text);
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  await page.waitForURL(`${at}/sign-in/code`);
  for (let n = 0; n < 10 && (await page.evaluate(() => document.activeElement.id)) !== "code"; n++) await page.keyboard.press("Tab");
  await page.keyboard.type(codes[0].toUpperCase());
  await page.keyboard.press("Enter");
  await page.waitForURL(`${at}/account`);
  assert.match(await page.locator("#app").innerText(), /9 recovery codes are left/);
  await close();
});

test("a passkey is added, and opens without password and code", async () => {
  const { page, context, close } = await signedIn();
  await authenticator(context, page);
  await page.goto(`${at}/account`);
  await page.getByLabel("Its name").fill("Phone");
  await page.getByRole("button", { name: "Add a passkey" }).click();
  await page.getByText("The passkey was added.").waitFor();
  await page.getByRole("button", { name: "Add a passkey" }).click();
  await page.getByText("has a passkey for you already").waitFor();
  assert.deepEqual(await violations(page), []);
  await picture(page, "door-account");
  await page.goto(`${at}/sign-in?again=1&next=/people`);
  await picture(page, "door-sign-in");
  await page.getByRole("button", { name: "Use a passkey" }).click();
  await page.waitForURL(`${at}/people`);
  session = await context.storageState();
  await close();
});

test("somebody new comes in with a passkey alone, and may do what they were let in for", async () => {
  const admin = await signedIn();
  await admin.page.goto(`${at}/people`);
  await admin.page.getByLabel("Scope", { exact: true }).first().selectOption("operate");
  await admin.page.getByRole("button", { name: "Make a link" }).click();
  const invite = await admin.page.locator(".secret").innerText();
  assert.deepEqual(await violations(admin.page), []);
  await picture(admin.page, "door-people-link");
  const { page, context, close } = await reader({ viewport: PHONE });
  await authenticator(context, page);
  await page.goto(invite);
  assert.deepEqual(await violations(page), []);
  await picture(page, "door-setup-phone");
  await page.getByLabel("Your name").fill("Bob");
  await page.getByRole("button", { name: "Come in with a passkey" }).click();
  await page.waitForURL(`${at}/account?said=welcome`);
  assert.equal(await page.locator("h1").innerText(), "Bob");
  await page.goto(`${at}/people`);
  assert.match(await page.locator("main").innerText(), /this takes the scope `admin`; `Bob` has `operate`/);
  assert.deepEqual(await violations(page), []);
  await admin.page.goto(`${at}/people`);
  const row = admin.page.getByRole("row", { name: /Bob/ });
  await row.locator("summary").click();
  await row.getByLabel("Why").fill("only here for a test");
  await row.getByRole("button", { name: /for good/ }).click();
  assert.match(await admin.page.getByRole("status").innerText(), /cannot come in any more/);
  await page.goto(`${at}/account`);
  assert.equal(page.url(), `${at}/sign-in?next=/account`, "at once");
  await admin.close();
  await close();
});

test("a token is shown once and works until it is revoked", async () => {
  const { page, close } = await signedIn();
  await page.goto(`${at}/people`);
  await page.getByLabel("What it is for").fill("ci");
  await page.getByRole("button", { name: "Make it" }).click();
  const token = await page.locator(".secret").innerText();
  const ask = () => fetch(`${at}/people`, { headers: { authorization: `Bearer ${token}` } });
  const answer = await ask();
  assert.deepEqual([answer.status, (await answer.json()).detail], [403, "this takes the scope `admin`; `ci` has `read`"]);
  await page.goto(`${at}/people`);
  assert.ok(!(await page.content()).includes(token));
  await page.getByRole("button", { name: "Revoke the token ci" }).click();
  assert.equal((await ask()).status, 401);
  await close();
});

/** Each page once in the light at a desk, and once in the dark on a phone. */
const LOOKS = [["desk", { colorScheme: "light" }], ["phone", { colorScheme: "dark", viewport: PHONE }]];

for (const path of ["/sign-in", "/account", "/people", "/audit", "/nothing"]) {
  for (const [name, look] of LOOKS) {
    test(`axe finds nothing wrong: ${path}, ${look.colorScheme}, ${name}`, async () => {
      const { page, close } = await reader({ ...look, ...(path !== "/sign-in" && { storageState: session }) });
      await page.goto(at + path);
      for (const details of await page.locator("details").all()) {
        await details.evaluate((one) => { one.open = true; });
      }
      assert.deepEqual(await violations(page), []);
      const [wide, seen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(wide <= seen, `it is ${wide} wide on a screen of ${seen}`);
      for (const one of await page.locator("button:visible, nav a:visible, summary:visible").all()) {
        const box = await one.boundingBox();
        assert.ok(box.height >= 24, `${await one.innerText()} is ${box.height} high`);
      }
      await picture(page, `door${path.replace("/", "-")}-${name}`);
      await close();
    });
  }
}

test("the audit tells it all", async () => {
  const { page, close } = await signedIn();
  await page.goto(`${at}/audit?q=bob`);
  const rows = await page.locator("tbody tr").allInnerTexts();
  const has = (...words) => rows.some((row) => words.every((word) => row.includes(word)));
  assert.ok(has("removed Bob", "only here for a test", "127.0.0.1", "done"), rows.join("\n"));
  assert.ok(has("Bob", "came in for the first time by a link", "the link was made by ann"), rows.join("\n"));
  await close();
});
