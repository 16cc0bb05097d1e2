/**
 * The words that the elements and the dashboard have in common: states, times, durations, numbers, links.
 * Law: pure functions; the clock is an argument, and what a job says comes out as plain text, never as markup.
 */

/** @typedef {"idle" | "active" | "wish" | "good" | "bad" | "stopped" | "unknown"} Tone */
/**
 * What these functions read of a job's document.
 * @typedef {{
 *   id: string, workspace: string, name: string, state: string, terminal: boolean, stalled: boolean, attempt: number,
 *   progress: number | null, step: string | null, message: string | null, error: { message: string } | null,
 *   created: string, started: string | null, finished: string | null, updated: string
 * }} JobText
 */
/** @typedef {string | number | Date | null | undefined} Time An RFC 3339 text, milliseconds since 1970, or a Date. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const JUST_NOW_MS = 2 * SECOND; // less than this is not worth a number
const RELATIVE_MS = 7 * DAY; // what is older is easier to place by its date
const NAMES = 120; // characters of a name or step that are worth a line
const SENTENCE = 300; // characters of a message that are worth a line; the whole stands on the job's page

/** @type {ReadonlyArray<readonly [state: string, label: string, tone: Tone, terminal: boolean]>} */
const TABLE = [
  ["created", "Created", "idle", false],
  ["pending", "Pending", "idle", false],
  ["running", "Running", "active", false],
  ["pausing", "Pausing", "wish", false],
  ["paused", "Paused", "stopped", false],
  ["resuming", "Resuming", "wish", false],
  ["retrying", "Retrying", "active", false],
  ["cancelling", "Cancelling", "wish", false],
  ["succeeded", "Succeeded", "good", true],
  ["failed", "Failed", "bad", true],
  ["cancelled", "Cancelled", "stopped", true],
  ["unknown", "Unknown", "unknown", false],
];
const BY_STATE = new Map(TABLE.map(([state, label, tone, terminal]) => [state, { label, tone, terminal }]));

/** All states, in the order in which a life runs through them. */
export const STATES = Object.freeze(TABLE.map(([state]) => state));

/** A state as people read it: "Running". A word that is not known comes out as it is. @param {string} state */
export function stateLabel(state) {
  return BY_STATE.get(state)?.label ?? plainText(state, NAMES);
}

/** The family of a state, for its colour and mark. @param {string} state @returns {Tone} */
export function stateTone(state) {
  return BY_STATE.get(state)?.tone ?? "unknown";
}

/** Whether nothing can follow. @param {string} state */
export function isTerminal(state) {
  return BY_STATE.get(state)?.terminal ?? false;
}

// --- texts ---

// Control characters, and what turns the writing round: both could make one text look like another.
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const UNPRINTABLE_BUT_LINES = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/**
 * One line of what a job says: control characters and white space become single spaces, cut to `most` characters.
 * @param {unknown} value @param {number} [most]
 */
export function plainText(value, most = SENTENCE) {
  if (value === null || value === undefined) return "";
  // What can't be shown can't be long: cutting first bounds the work on a text of 256 KiB.
  const text = String(value).slice(0, most * 8).replace(UNPRINTABLE, " ").replace(/\s+/g, " ").trim();
  return cut(text, most);
}

/**
 * Several lines (a stack trace), with their line ends and tabs and without other control characters.
 * @param {unknown} value @param {number} [most] characters
 */
export function plainLines(value, most = 100_000) {
  if (value === null || value === undefined) return "";
  const text = String(value).replace(/\r\n?|[\u2028\u2029\u0085]/g, "\n").replace(UNPRINTABLE_BUT_LINES, "");
  return cut(text, most);
}

/**
 * At most `most` characters, the last an ellipsis where something was cut. No surrogate pair is halved.
 * @param {string} text @param {number} most
 */
export function cut(text, most) {
  if (text.length <= most) return text;
  const end = /[\ud800-\udbff]/.test(text[most - 2] ?? "") ? most - 2 : most - 1;
  return `${text.slice(0, Math.max(end, 0)).trimEnd()}…`;
}

/** What a job is called on a page. @param {{ name: string, id: string }} job */
export function jobName(job) {
  return plainText(job.name, NAMES) || plainText(job.id, NAMES);
}

/** The id, with the workspace where it is not the usual one. @param {{ id: string, workspace: string }} job */
export function jobAddress(job) {
  return job.workspace === "default" ? job.id : `${job.workspace}/${job.id}`;
}

/** The query that shows a job on the gateway's own page: "?job=default/a1". @param {{ id: string, workspace: string }} job */
export function pageQuery(job) {
  return `?job=${encodeURIComponent(job.workspace)}/${encodeURIComponent(job.id)}`;
}

/**
 * The address of a link as far as it may be followed: http, https or relative. All else (javascript:, data:) is null.
 * @param {unknown} href @param {string} base what a relative one starts from @returns {string | null}
 */
export function safeHref(href, base) {
  if (typeof href !== "string" || href.trim() === "") return null;
  try {
    const url = new URL(href, base);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}

// --- numbers ---

/** "45%", never 100% before it is reached; "" where nobody knows. @param {number | null | undefined} progress */
export function formatPercent(progress) {
  const whole = wholePercent(progress);
  return whole === null ? "" : `${whole}%`;
}

/** Progress as a whole number from 0 to 100, rounded down; null where nobody knows. @param {number | null | undefined} progress */
export function wholePercent(progress) {
  if (typeof progress !== "number" || !Number.isFinite(progress)) return null;
  return Math.floor(Math.min(Math.max(progress, 0), 100));
}

/** @type {Map<string, Intl.NumberFormat>} */
const counters = new Map();

/** "12,345", as the reader's language writes it. @param {number} number @param {string} [locale] */
export function formatCount(number, locale) {
  const key = locale ?? "";
  const found = counters.get(key) ?? new Intl.NumberFormat(locale);
  counters.set(key, found);
  return found.format(number);
}

/** "1 job", "2 jobs". @param {number} number @param {string} one @param {string} [many] @param {string} [locale] */
export function plural(number, one, many = `${one}s`, locale = undefined) {
  return `${formatCount(number, locale)} ${number === 1 ? one : many}`;
}

/** "512 B", "1.5 KiB", "12 MiB". @param {number} bytes */
export function formatBytes(bytes) {
  const power = bytes < 1024 ? 0 : bytes < 1024 ** 2 ? 1 : bytes < 1024 ** 3 ? 2 : 3;
  const number = bytes / 1024 ** power;
  const digits = power === 0 || number >= 10 ? 0 : 1;
  return `${number.toFixed(digits).replace(/\.0$/, "")} ${["B", "KiB", "MiB", "GiB"][power]}`;
}

// --- times ---

/** Milliseconds since 1970, or null where there is none or it can't be read. @param {Time} time @returns {number | null} */
export function milliseconds(time) {
  if (time === null || time === undefined || time === "") return null;
  const number = time instanceof Date ? time.getTime() : typeof time === "number" ? time : Date.parse(time);
  return Number.isNaN(number) ? null : number;
}

/**
 * How long a job has been at work, in milliseconds: from its start to its end or to `now`; null before its start.
 * @param {{ started: string | null, finished: string | null }} job @param {number} now
 */
export function timeRunning(job, now) {
  const started = milliseconds(job.started);
  if (started === null) return null;
  return Math.max((milliseconds(job.finished) ?? now) - started, 0); // the reader's clock may run behind
}

/** "0 s", "45 s", "4 min 05 s", "2 h 04 min", "3 d 4 h"; "" for null. @param {number | null} length milliseconds */
export function formatDuration(length) {
  const parts = durationParts(length);
  if (parts === null) return "";
  const [days, hours, minutes, seconds] = parts;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${two(minutes)} min`;
  if (minutes > 0) return `${minutes} min ${two(seconds)} s`;
  return `${seconds} s`;
}

/** The same to be read aloud: "4 minutes 5 seconds". @param {number | null} length milliseconds */
export function speakDuration(length) {
  const parts = durationParts(length);
  if (parts === null) return "";
  const names = ["day", "hour", "minute", "second"];
  const first = parts.findIndex((part) => part > 0);
  if (first < 0) return "0 seconds";
  const said = parts.map((part, index) => (part > 0 ? plural(part, names[index] ?? "") : "")).slice(first, first + 2);
  return said.filter(Boolean).join(" ");
}

/** The same for `<time datetime>`: "PT245S"; "" for null. @param {number | null} length milliseconds */
export function isoDuration(length) {
  return length === null ? "" : `PT${Math.floor(Math.max(length, 0) / SECOND)}S`;
}

/**
 * "just now", "12 s ago", "3 min ago", "5 h ago", "2 d ago", then the date. What lies ahead: "in 12 s".
 * @param {Time} time @param {number} now @param {string} [locale]
 */
export function formatRelative(time, now, locale) {
  const at = milliseconds(time);
  if (at === null) return "";
  const length = Math.abs(now - at);
  if (length < JUST_NOW_MS) return "just now";
  if (length >= RELATIVE_MS) return formatTime(at, now, locale);
  const text = largestPart(length);
  return at > now ? `in ${text}` : `${text} ago`;
}

/**
 * The time of day for what was today, else date and time, in the reader's zone and language.
 * @param {Time} time @param {number} now @param {string} [locale]
 */
export function formatTime(time, now, locale) {
  const at = milliseconds(time);
  if (at === null) return "";
  const date = new Date(at);
  const today = new Date(now);
  const form = date.toDateString() === today.toDateString() ? "time" : date.getFullYear() === today.getFullYear() ? "day" : "date";
  return formatter(form, locale).format(date);
}

/** Date, time to the second and zone: for a title or a sheet. @param {Time} time @param {string} [locale] */
export function formatFullTime(time, locale) {
  const at = milliseconds(time);
  return at === null ? "" : formatter("full", locale).format(at);
}

/** @type {Record<string, Intl.DateTimeFormatOptions>} */
const FORMS = {
  time: { timeStyle: "medium" },
  day: { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" },
  date: { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" },
  full: { dateStyle: "medium", timeStyle: "long" },
};
/** @type {Map<string, Intl.DateTimeFormat>} To make one costs a hundred times what it costs to use it. */
const formatters = new Map();

/** @param {string} form @param {string | undefined} locale */
function formatter(form, locale) {
  const key = `${form} ${locale ?? ""}`;
  const found = formatters.get(key) ?? new Intl.DateTimeFormat(locale, FORMS[form]);
  formatters.set(key, found);
  return found;
}

// --- sentences ---

/** Where a job stands, for `aria-valuetext` and the line below its bar: "45%, validating". @param {JobText} job */
export function progressText(job) {
  const step = plainText(job.step, NAMES);
  const percent = formatPercent(job.progress);
  if (job.terminal) return percent ? `${stateLabel(job.state)} at ${percent}` : stateLabel(job.state);
  return [percent || (job.started ? "progress not known" : "not started"), step].filter(Boolean).join(", ");
}

/** What a job has to say now: its error where it has one, else its message. @param {JobText} job */
export function newsOf(job) {
  return plainText(job.error?.message || job.message);
}

/**
 * One sentence to be announced when a job's state changes: "tiles failed after 2 minutes: disk full".
 * @param {JobText} job
 */
export function announcement(job) {
  const parts = [`${jobName(job)}: ${stateLabel(job.state)}`];
  const length = timeRunning(job, milliseconds(job.updated) ?? 0);
  if (job.terminal && length !== null) parts.push(` after ${speakDuration(length)}`);
  if (job.state === "retrying") parts.push(`, attempt ${job.attempt}`);
  const news = job.error || job.terminal ? newsOf(job) : "";
  return parts.join("") + (news ? `. ${news}` : "");
}

/** @param {number | null} length @returns {[days: number, hours: number, minutes: number, seconds: number] | null} */
function durationParts(length) {
  if (length === null || Number.isNaN(length)) return null;
  const whole = Math.max(length, 0);
  /** @param {number} size @param {number} of */
  const part = (size, of) => Math.floor((whole % of) / size);
  return [Math.floor(whole / DAY), part(HOUR, DAY), part(MINUTE, HOUR), part(SECOND, MINUTE)];
}

/** @param {number} length */
function largestPart(length) {
  if (length < MINUTE) return `${Math.floor(length / SECOND)} s`;
  if (length < HOUR) return `${Math.floor(length / MINUTE)} min`;
  if (length < DAY) return `${Math.floor(length / HOUR)} h`;
  return `${Math.floor(length / DAY)} d`;
}

/** @param {number} number */
function two(number) {
  return String(number).padStart(2, "0");
}
