/** Whether a job still belongs into a filtered list: a stream also tells of the change by which a job leaves it. */

/**
 * A test of jobs by the parameters of `/v1/events` and `/v1/jobs`: those of one name mean or (labels: and), different
 * ones mean and. Parameters that filter nothing (limit, omit, min_interval …) are ignored.
 * @param {URLSearchParams} query
 * @returns {(job: { id: string, workspace: string, name: string, process: string | null, state: string,
 *   labels: Record<string, string> }) => boolean}
 */
export function matcher(query) {
  const states = query.getAll("state");
  const workspaces = query.getAll("workspace");
  const processes = query.getAll("process");
  const names = query.getAll("name");
  const ids = query.getAll("job");
  const places = workspaces.length > 0 ? workspaces : ["default"]; // where an id is meant that names no workspace
  const named = new Set(ids.flatMap((id) => (id.includes("/") ? [id] : places.map((place) => `${place}/${id}`))));
  const labels = query.getAll("label").map((label) => split(label, ":"));
  return (job) =>
    holds(states, job.state) &&
    holds(workspaces, job.workspace) &&
    holds(processes, job.process) &&
    holds(names, job.name) &&
    (ids.length === 0 || named.has(`${job.workspace}/${job.id}`)) &&
    labels.every(([key, value]) => Object.hasOwn(job.labels, key) && job.labels[key] === value);
}

/** @param {string[]} wanted @param {string | null} value */
function holds(wanted, value) {
  return wanted.length === 0 || (value !== null && wanted.includes(value));
}

/** @param {string} text @param {string} mark @returns {[before: string, after: string]} */
function split(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
