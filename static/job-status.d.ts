/** Types of `<job-status>`: one job of a status gateway, live. Importing the module defines the element. */

import type { Change, ConnectionState, DeletedJob, Job } from "./gateway.js";

/** Why nothing, or nothing new, can be shown: `code` for programs, the others for people. */
export interface ElementProblem {
  code:
    | "no-src"
    | "bad-src"
    | "token-in-markup"
    | "missing"
    | "deleted"
    | "unauthorized"
    | "refused"
    | "unreachable"
    | "interrupted"
    | "origin-not-allowed"
    | "csp"
    | "mixed-content";
  title: string;
  text: string;
}

/** Each document that came. `previous` is the one before it, null at first; `change.event` says whether the state changed. */
export type StatusChangeEvent = CustomEvent<{ job: Job | DeletedJob; previous: Job | null; change: Change }>;

/** Nothing follows. `job` is the last document, null of a list. */
export type EndEvent = CustomEvent<{ reason: "terminal" | "deleted" | "unauthorized" | "refused"; job: Job | null }>;

export type ConnectionChangeEvent = CustomEvent<ConnectionState>;

/** All of them bubble, out of shadow trees too. */
export interface ElementEvents {
  statuschange: StatusChangeEvent;
  end: EndEvent;
  connectionchange: ConnectionChangeEvent;
}

/** What `<job-status>` and `<job-list>` have in common. */
export declare class WatchingElement extends HTMLElement {
  /** What is shown; reflects the attribute of that name. */
  src: string;
  /** Sent as `Authorization: Bearer`. Never an attribute, for markup is read by many; it can't be read back. */
  set token(value: string | undefined);
  /** null before the first attempt. */
  readonly connection: ConnectionState | null;
  readonly problem: ElementProblem | null;
  /** Begin anew, also after an end. */
  retry(): void;

  addEventListener<Name extends keyof ElementEvents>(
    type: Name,
    listener: (event: ElementEvents[Name]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

export declare class JobStatus extends WatchingElement {
  /** The job's document as it was last heard of. */
  readonly job: Job | null;
}

declare global {
  interface HTMLElementTagNameMap {
    "job-status": JobStatus;
  }
}
