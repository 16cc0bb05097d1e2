// Firefox's own EventSource, in a page of the stream's origin: Debian's Firefox, until stdin ends.
import puppeteer from "puppeteer-core";

const [page_url, script, executablePath] = process.argv.slice(2);
const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true });
try {
  const page = await browser.newPage();
  page.on("console", (message) => console.log(message.text()));
  await page.goto(page_url);
  await page.addScriptTag({ type: "module", url: script });
  await new Promise((resolve) => process.stdin.on("end", resolve).resume());
} finally {
  await browser.close();
}
