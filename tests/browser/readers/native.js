// The browser's own EventSource.
import { follow, STREAM } from "./told.js";

follow(new EventSource(STREAM));
