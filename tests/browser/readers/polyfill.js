// event-source-polyfill, which its own script tag has loaded before this.
import { follow, STREAM } from "./told.js";

follow(new globalThis.EventSourcePolyfill(STREAM));
