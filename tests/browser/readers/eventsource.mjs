// npm's eventsource, in node.
import { EventSource } from "eventsource";

import { follow, STREAM } from "./told.js";

follow(new EventSource(STREAM));
process.stdin.resume(); // its timer alone does not keep node alive
