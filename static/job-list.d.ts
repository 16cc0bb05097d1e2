/** Types of `<job-list>`: the jobs that match, live. Importing the module defines the element. */

import type { Job } from "./gateway.js";
import type { WatchingElement } from "./job-status.js";

export type { ConnectionChangeEvent, ElementEvents, ElementProblem, EndEvent, StatusChangeEvent } from "./job-status.js";

export declare class JobList extends WatchingElement {
  /** The jobs that match, newest first; without steps, details and result. */
  readonly jobs: Job[];
}

declare global {
  interface HTMLElementTagNameMap {
    "job-list": JobList;
  }
}
