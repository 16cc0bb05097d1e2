// Firefox opens a page that embeds the elements, ends its job `a` and prints what the page then shows and said.
import puppeteer from "puppeteer-core";

const [url, job, executablePath] = process.argv.slice(2);
const BOUND = 100_000; // ms that a loaded machine may need
const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true, timeout: BOUND });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(BOUND);
  const troubles = [];
  page.on("pageerror", (error) => troubles.push(error.message));
  await page.goto(url);
  await page.waitForFunction(() => document.querySelector("job-status").job && document.querySelector("job-list").jobs.length);
  const headers = { "Content-Type": "application/json" };
  await fetch(`${job}/events`, { method: "POST", headers, body: '{"state":"succeeded"}' });
  await page.waitForFunction(() => document.querySelector("job-status").matches(":state(succeeded)") && said.length > 1);
  const shown = await page.evaluate(() => {
    const card = document.querySelector("job-status").shadowRoot.querySelector(".card");
    const [bar, track] = [".bar", ".track"].map((part) => card.querySelector(part));
    return {
      state: card.querySelector(".state").textContent,
      now: track.getAttribute("aria-valuenow"),
      radius: getComputedStyle(card).borderRadius,
      ground: getComputedStyle(card).backgroundColor,
      bar: getComputedStyle(bar).backgroundColor,
      rows: document.querySelector("job-list").shadowRoot.querySelectorAll("li").length,
      said,
    };
  });
  console.log(JSON.stringify({ ...shown, troubles }));
} finally {
  await browser.close();
}
