/** Types of the browser's client of a status gateway. */

/** A job's document: what GET answers, and what each frame of a stream carries. */
export interface Job {
  id: string;
  workspace: string;
  name: string;
  process: string | null;
  state: State;
  previous: State | null;
  terminal: boolean;
  stalled: boolean;
  attempt: number;
  /** 0 to 100; null: not known. */
  progress: number | null;
  step: string | null;
  message: string | null;
  error: { message: string; code?: string; stack?: string; details?: unknown } | null;
  /** Absent where `omit` leaves it out, as `steps` and `result`. */
  details: Record<string, unknown>;
  labels: Record<string, string>;
  steps: Step[];
  links: { rel: string; href: string; type?: string }[];
  result: unknown;
  /** Times are RFC 3339 in UTC. */
  created: string;
  started: string | null;
  finished: string | null;
  updated: string;
  reported: string | null;
  lease: number | null;
  /** How many records the job has had. */
  version: number;
  position: string;
}

export interface Task {
  name: string;
  state: State;
  details: Record<string, unknown>;
  error: Job["error"];
  created: string;
  updated: string;
}

export interface Step extends Task {
  tasks: Task[];
}

export type State =
  | "created"
  | "pending"
  | "running"
  | "pausing"
  | "paused"
  | "resuming"
  | "retrying"
  | "cancelling"
  | "succeeded"
  | "failed"
  | "cancelled"
  | "unknown";

/** `snapshot`: the job as it stands, at first or after a reset; `deleted`: its document is only a `DeletedJob`. */
export interface Change {
  event: "snapshot" | "transition" | "progress" | "deleted";
  /** `workspace/id` */
  key: string;
  /** Where in the log; null only of a deletion that was noticed without a stream. */
  position: string | null;
}

export interface DeletedJob {
  id: string;
  workspace: string;
  position: string | null;
}

export interface Sync {
  head: string | null;
  time: string | null;
  /** After a round of snapshots: how many were shown, and how many jobs match (1001: more than 1000); else null. */
  shown: number | null;
  matched: number | null;
}

/** What an error says (RFC 9457). */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  [member: string]: unknown;
}

export interface End {
  reason: "terminal" | "deleted" | "unauthorized" | "refused";
  /** The last document, of a watch of one job. */
  job: Job | null;
  problem: Problem | null;
}

export interface ConnectionState {
  /** `open`: caught up and live; `waiting`: the next attempt is at `retryAt`; `closed`: for good. */
  state: "connecting" | "open" | "waiting" | "closed";
  /** `poll`: no stream gets through, so requests that wait take its place. */
  transport: "eventsource" | "fetch" | "poll" | null;
  /** Another tab of this browser holds the connection. */
  shared: boolean;
  /** In milliseconds, as of `Date.now()`. */
  retryAt: number | null;
  /** What went wrong last, in words; null while all is well. */
  trouble: string | null;
}

/** Milliseconds. */
export interface Timing {
  /** How long a stream may take to its first `sync`, and between frames before that. */
  first: number;
  /** Without any frame for so long an open stream is dead; the gateway sends `sync` each 15 s. */
  silence: number;
  /** While polling: the pauses before each attempt to come back to the stream; the last one repeats. */
  back: readonly number[];
  /** Back-off with full jitter: at random up to `base`, doubled with each failure up to `cap`. */
  base: number;
  cap: number;
  /** How long a request may wait for a change. */
  wait: number;
  /** While polling many jobs: between two looks at what happened to them. */
  look: number;
  /** How long a tab must be hidden before `pauseWhenHidden` lets go. */
  hidden: number;
  /** Without an answer of the tab that leads for so long another takes over. */
  lead: number;
}

export interface WatchOptions {
  /** Each new document. It is shared with other watches of the page: do not change it. */
  onStatus?: (job: Job, change: Change) => void;
  /** Nothing follows. Not called after `close`. */
  onEnd?: (end: End) => void;
  /** The gateway has no such job, or not yet: the watch goes on, and shows it when it is created. */
  onMissing?: (keys: string[]) => void;
  onSync?: (sync: Sync) => void;
  /** What was shown may be out of date: snapshots of all there is follow, then `onSync` with `shown`. */
  onReset?: (reason: "expired" | "foreign" | "ahead") => void;
  onConnection?: (state: ConnectionState) => void;
  /** Sent as `Authorization: Bearer`, by fetch. It is never put into an address nor given to another tab. */
  token?: string;
  signal?: AbortSignal;
  /** Send cookies to another origin too. */
  credentials?: boolean;
  /** Share the connection with other tabs; true where not said. */
  share?: boolean;
  /** Let go of the stream while the tab is hidden, and catch up afterwards. */
  pauseWhenHidden?: boolean;
  /** Where watches share a connection, that of the first counts. */
  timing?: Partial<Timing>;
}

export interface Watcher extends AsyncIterable<{ job: Job; change: Change }> {
  close(): void;
  readonly closed: boolean;
  readonly connection: ConnectionState;
}

/** The watch was ended by the gateway: `unauthorized` or `refused`. */
export declare class WatchError extends Error {
  constructor(reason: string, problem: Problem | null);
  readonly reason: string;
  readonly problem: Problem | null;
}

/**
 * Follow a job (`…/v1/jobs/ID`), named jobs (`…/v1/events?job=ID&job=…`) or all that match (`…/v1/events?state=…`).
 * Throws a TypeError for an address that a gateway would not know.
 */
export declare function watch(url: string | URL, options?: WatchOptions): Watcher;

/** The address of a job of the gateway that is mounted at `gateway`. */
export declare function jobUrl(gateway: string | URL, workspace: string, id: string): string;
