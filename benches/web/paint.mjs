/** How soon the dashboard is painted: the median of several loads, of the whole page over the owner's socket. */
import { connect, createServer } from "node:net";
import { createRequire } from "node:module";
import { join } from "node:path";

const { SOCKET: socket, TOOLS: tools } = process.env;
const { chromium } = createRequire(join(tools, "package.json"))("playwright-core");
const through = createServer((one) => {
  const other = connect(socket);
  for (const [from, to] of [[one, other], [other, one]]) {
    from.pipe(to);
    from.on("error", () => to.destroy());
  }
});
await new Promise((resolve) => through.listen(0, "127.0.0.1", resolve));
const at = `http://127.0.0.1:${through.address().port}`;
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage();
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
console.log("| page, 900 monitors | answered after ms | first paint ms | all there ms | KB of HTML |\n| --- | --- | --- | --- | --- |");
for (const path of ["/", "/monitors", "/monitors/monitor.m1", "/incidents", "/events"]) {
  const seen = [];
  for (let turn = 0; turn < 9; turn += 1) {
    await page.goto(at + path, { waitUntil: "load" });
    await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
    seen.push(await page.evaluate(() => {
      const [load] = performance.getEntriesByType("navigation");
      const [paint] = performance.getEntriesByName("first-contentful-paint");
      return { answered: load.responseEnd, paint: paint.startTime, all: load.loadEventEnd, size: load.decodedBodySize };
    }));
  }
  const of = (key) => median(seen.map((one) => one[key])).toFixed(0);
  console.log(`| ${path} | ${of("answered")} | ${of("paint")} | ${of("all")} | ${(of("size") / 1024).toFixed(0)} |`);
}
await browser.close();
through.close();
