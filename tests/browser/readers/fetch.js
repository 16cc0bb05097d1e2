// @microsoft/fetch-event-source as its README uses it: a connection that was lost is retried, the end is final.
import { fetchEventSource } from "./fetch-event-source/index.js";

import { STREAM, tell } from "./told.js";

const ended = new AbortController();
await fetchEventSource(STREAM, {
  signal: ended.signal,
  openWhenHidden: true,
  async onopen(response) {
    if (!response.ok) throw new Error(`status ${response.status}`);
    tell("open");
  },
  onmessage({ event, id, data }) {
    if (event === "") return; // `retry` alone; it calls this for every blank line
    tell(event, id, data);
    if (event === "end") ended.abort();
  },
  onclose() {
    throw new Error("the server closed");
  },
  onerror() {
    tell("broken");
  },
});
tell("closed");
