// Firefox's own EventSource, in a page of the stream's origin: Debian's Firefox, until stdin ends.
import puppeteer from "puppeteer-core";

const [page_url, script, executablePath] = process.argv.slice(2);
const BOUND = 100_000; // ms that a loaded machine may need
const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true, timeout: BOUND });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(BOUND);
  page.on("console", (message) => console.log(message.text()));
  await page.goto(page_url);
  await page.addScriptTag({ type: "module", url: script });
  await new Promise((resolve) => process.stdin.on("end", resolve).resume());
} finally {
  await browser.close();
}
