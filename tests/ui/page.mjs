// What a person sees and does on the page of `kubectl lifecycle ui`, in headless Chromium.
//
// Started by `tests/tests/ui`, which makes the releases:
// - shop: its second hook fails
// - hostile: its hook fails, with a log that tries to be markup
// - search: its hook runs, writes a line each second and does not end
// - billing: two revisions, Ready
// Environment: UI_URL, UI_NAMESPACE, UI_REPORT (a file), UI_PICTURES (a folder), CHROMIUM.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { chromium } from "playwright-core";

const { UI_URL: url, UI_NAMESPACE: namespace, UI_REPORT: report, UI_PICTURES: pictures } = process.env;
const DESKTOP = { width: 1100, height: 760 };
const PHONE = { width: 390, height: 780 };
const QUIET = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

let browser;
const strays = [];
const faults = [];

before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: QUIET });
});
after(() => browser?.close());

/** Opens a page on which each request to elsewhere, each dialog and each error is noted. */
async function open(options = {}, address = url) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  const page = await context.newPage();
  page.on("request", (request) => {
    if (new URL(request.url()).host !== new URL(url).host && !/^(data|file):/.test(request.url())) {
      strays.push(request.url());
    }
  });
  page.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(message.text());
  });
  await page.goto(address);
  return page;
}

async function picture(page, name) {
  await page.screenshot({ path: `${pictures}/${name}.png` });
}

function row(page, name) {
  return page.locator("tbody tr", { has: page.getByRole("link", { name, exact: true }) });
}

async function openRelease(page, name) {
  await page.getByRole("link", { name, exact: true }).click();
  await page.getByRole("heading", { name: `${namespace}/${name}` }).waitFor();
}

test("what needs somebody comes first, with the hook and the reason", async () => {
  const page = await open();
  await row(page, "search").getByText("pre-install Job/reindex").waitFor();
  await row(page, "billing").getByText("Ready").waitFor();
  const names = await page.locator("tbody tr a").allTextContents();
  assert.deepEqual(names, ["hostile", "shop", "search", "billing"]);
  await row(page, "shop").getByText("Job/migrate").waitFor();
  await row(page, "shop").getByText("exit code 3").waitFor();
  await picture(page, "releases");
  await page.getByRole("button", { name: "Failed 2" }).click();
  assert.deepEqual(await page.locator("tbody tr a").allTextContents(), ["hostile", "shop"]);
  await page.getByRole("button", { name: "Failed 2" }).click();
  await page.keyboard.press("/");
  await page.keyboard.type("reindex");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  await page.context().close();
});

test("a log that tries to be markup is text", async () => {
  const page = await open();
  await openRelease(page, "shop");
  await page.getByText("ERROR: table orders is locked").first().waitFor();
  await picture(page, "failed");
  await page.getByRole("link", { name: "Releases", exact: true }).click();
  await openRelease(page, "hostile");
  await page.getByText("<img src=x onerror=alert(1)>").first().waitFor();
  assert.equal(await page.locator("img").count(), 0);
  await page.getByRole("link", { name: "Logs", exact: true }).click();
  await page.locator("pre").getByText("</pre><script>alert(2)</script>").waitFor();
  assert.equal(await page.evaluate(() => document.querySelectorAll("main script, main img").length), 0);
  const log = await page.locator("pre").textContent();
  assert.ok(!log.includes("\u001b"), "no order for a terminal is left");
  await page.context().close();
});

test("after a retry the log of the next attempt is shown", async () => {
  const page = await open();
  await openRelease(page, "shop");
  await page.getByRole("link", { name: "Logs", exact: true }).click();
  await page.locator("pre").getByText("table orders is locked").waitFor();
  await page.getByRole("button", { name: "Retry" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
  await page.waitForFunction(() => {
    const [, attempts] = document.querySelectorAll("select");
    return attempts.options.length === 2;
  });
  await page.locator("pre").getByText("table orders is locked").waitFor();
  await page.locator("header").getByText("HookFailed").waitFor();
  await page.context().close();
});

test("a log and a bar grow while the hook runs, and a person with a keyboard cancels it", async () => {
  const page = await open({ colorScheme: "dark" });
  await openRelease(page, "search");
  const time = page.locator("li.is-active .time");
  const before = await time.textContent();
  await page.waitForFunction((text) => document.querySelector("li.is-active .time").textContent !== text, before);
  assert.ok((await page.locator(".bar.active").boundingBox()).width > 0);
  await picture(page, "running");
  await page.getByRole("link", { name: "Logs", exact: true }).click();
  await page.locator("pre").getByText("line 2\n").waitFor();
  await page.waitForFunction(() => {
    const lines = document.querySelector("pre").textContent.trim().split("\n");
    window.first ??= lines.length;
    return lines.length > window.first;
  });
  await picture(page, "log");

  await page.getByRole("button", { name: "Cancel the operation" }).focus();
  await page.keyboard.press("Enter");
  await page.getByText(`kubectl lifecycle cancel search -n ${namespace}`).waitFor();
  await picture(page, "confirm");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "No");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("dialog").count(), 0, "nothing is done without a yes");
  await page.getByRole("button", { name: "Cancel the operation" }).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByText("cancellation requested").waitFor();
  await page.locator("header").getByText("Cancelled").waitFor();
  await page.context().close();
});

test("a release is rolled back from its history, and goes on by itself", async () => {
  const page = await open({ viewport: PHONE });
  await openRelease(page, "billing");
  await page.getByRole("link", { name: "History" }).click();
  await page.getByRole("cell", { name: "superseded" }).waitFor();
  await picture(page, "phone");
  await page.getByRole("button", { name: "Roll back to 1" }).click();
  await page.getByText(`kubectl lifecycle rollback billing 1 -n ${namespace}`).waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Roll back to 1" }).click();
  await page.getByText("is rolled back to revision 1").waitFor();
  await page.locator("header").getByText("rollback of revision 3").waitFor();
  await page.getByRole("button", { name: "Undo the rollback" }).waitFor();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.ok(!wide, "nothing is wider than a phone");
  await page.context().close();
});

test("plan, events and doctor are those of the command line", async () => {
  const page = await open();
  await openRelease(page, "billing");
  for (const [tab, expected] of [["Plan", "install"], ["Diff", "/data/value"], ["Events", "InstallSucceeded"], ["Doctor", "definition"]]) {
    await page.getByRole("link", { name: tab, exact: true }).click();
    await page.locator("pre").getByText(expected).waitFor();
  }
  await page.keyboard.press("Escape");
  await page.getByRole("heading", { name: "Releases" }).waitFor();
  await page.context().close();
});

test("nobody without the token gets anything", async () => {
  const bare = new URL("/", url);
  for (const path of ["/", "/?token=1", "/api/releases", "/api/releases?token=1"]) {
    const answer = await fetch(new URL(path, bare));
    assert.equal(answer.status, 401, path);
  }
  const page = await open();
  const blocked = await page.evaluate(async () => {
    const element = document.createElement("div");
    element.innerHTML = "<img src=x onerror='window.hacked = 1'>";
    document.body.append(element);
    await new Promise((resolve) => setTimeout(resolve, 200));
    element.remove();
    return window.hacked === undefined;
  });
  assert.ok(blocked, "the policy stops what is in a page in spite of all");
  faults.length = 0;
  await page.context().close();
});

test("a report needs nothing but itself", async () => {
  const page = await open({}, pathToFileURL(report).href);
  await page.getByText("<img src=x onerror=alert(1)>").first().waitFor();
  await page.getByRole("heading", { name: "Revisions" }).waitFor();
  assert.equal(await page.locator("button, img").count(), 0);
  assert.ok((await page.locator(".bar.failed").first().boundingBox()).width > 0, "its styles apply");
  await picture(page, "report");
  await page.context().close();
});

test("no page asked for anything of elsewhere, and nothing failed", () => {
  assert.deepEqual(strays, []);
  assert.deepEqual(faults, []);
});
