// What every reader tells the test: each event as a line of JSON, on the console.
const EVENTS = ["snapshot", "transition", "progress", "deleted", "sync", "reset", "busy", "end"];

export const STREAM = globalThis.location ? new URLSearchParams(location.search).get("stream") : process.argv[2];

export function tell(event, id = "", data = "") {
  console.log(JSON.stringify({ event, id, data }));
}

/** Follow whatever has the interface of the browsers' EventSource, and never close it: that is the server's to say. */
export function follow(source) {
  source.addEventListener("open", () => tell("open"));
  source.addEventListener("error", () => tell(source.readyState === 2 ? "closed" : "broken"));
  for (const name of EVENTS) source.addEventListener(name, (event) => tell(name, event.lastEventId, event.data));
}
