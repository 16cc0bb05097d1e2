// npm's eventsource-client, in node.
import { createEventSource } from "eventsource-client";

import { STREAM, tell } from "./told.js";

const source = createEventSource({
  url: STREAM,
  onConnect: () => tell("open"),
  onScheduleReconnect: () => tell("broken"),
  onDisconnect: () => setTimeout(() => source.readyState === "closed" && tell("closed")), // it closes right after
  onMessage: ({ event, id, data }) => tell(event, id, data),
});
