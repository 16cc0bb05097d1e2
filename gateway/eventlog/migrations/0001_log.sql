-- The log and its views. `records` is the truth; `jobs`, `identities` and `labels` are kept beside it in the same
-- transactions so that a job is found without folding history. Times are milliseconds since 1970, UTC.

-- name and value of what stands once: `floor` (records at or before it may have been compacted), `copied` (this file
-- is a backup that no gateway has opened yet, so the first to do so starts a new epoch).
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('floor', 0);

-- Which epoch an offset was written in: the newest one whose `first` is at or before it.
CREATE TABLE epochs (first INTEGER PRIMARY KEY, epoch TEXT NOT NULL UNIQUE) STRICT;

-- One row a job. `first`, `last`: offsets of its records; `floor`: its records at or before it may have been compacted;
-- `tended`: compaction has looked at its records up to here; `finished`: when the log learned of its end; `deleted`:
-- `last` is its tombstone; `digest`: hash of the canonical body that created it. AUTOINCREMENT: a number is never given twice, for keys and records refer to it.
CREATE TABLE jobs (
    job INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    process TEXT,
    state TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    floor INTEGER NOT NULL DEFAULT 0,
    tended INTEGER NOT NULL DEFAULT 0,
    finished INTEGER,
    lease REAL,
    digest BLOB,
    deleted INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX jobs_by_first ON jobs (first);
CREATE INDEX jobs_by_state ON jobs (state, first) WHERE deleted = 0;
CREATE INDEX jobs_by_workspace ON jobs (workspace, first) WHERE deleted = 0;
CREATE INDEX jobs_by_workspace_state ON jobs (workspace, state, first) WHERE deleted = 0;
CREATE INDEX jobs_by_process ON jobs (process, first) WHERE deleted = 0;
CREATE INDEX jobs_by_process_state ON jobs (process, state, first) WHERE deleted = 0;
CREATE INDEX jobs_by_name ON jobs (name, first) WHERE deleted = 0;
CREATE INDEX jobs_with_lease ON jobs (job) WHERE lease IS NOT NULL AND finished IS NULL;
CREATE INDEX jobs_unfinished ON jobs (first) WHERE finished IS NULL;
CREATE INDEX jobs_finished ON jobs (finished) WHERE finished IS NOT NULL AND deleted = 0;
CREATE INDEX jobs_untended ON jobs (finished) WHERE finished IS NOT NULL AND deleted = 0 AND tended < last;
CREATE INDEX jobs_deleted ON jobs (last) WHERE deleted = 1;
CREATE INDEX jobs_unswept ON jobs (last) WHERE deleted = 1 AND tended < last;

-- Ids and aliases share one space: neither can take the other's place.
CREATE TABLE identities (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    job INTEGER NOT NULL,
    PRIMARY KEY (workspace, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_by_job ON identities (job);

CREATE TABLE labels (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    first INTEGER NOT NULL,
    job INTEGER NOT NULL,
    PRIMARY KEY (key, value, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_by_job ON labels (job);

-- One row an accepted report. `body` is the whole document where `base` is null, else the change since the job's
-- record before; the document is then folded from the record at offset `base` on. `codec` names the body's encoding.
-- `was`: the labels before, where the record changed them. AUTOINCREMENT: no offset is ever given twice.
CREATE TABLE records (
    offset INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL,
    event TEXT NOT NULL,
    by TEXT NOT NULL,
    time INTEGER NOT NULL,
    base INTEGER,
    codec INTEGER NOT NULL,
    was BLOB,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX records_by_job ON records (job, offset);

-- Idempotency keys, for as long as their job and its tombstone. `scope` is the workspace, or workspace/id of the job;
-- `status` is the first answer's, `offset` the job's newest record at that moment.
CREATE TABLE keys (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    status INTEGER NOT NULL,
    job INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_job ON keys (job);
