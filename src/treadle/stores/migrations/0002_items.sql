-- Version 2: items with integer keys, stages and subtasks by item, attempts, journal, workers.
-- Version 1 held only statuses by text; its tables become the views below.

CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

CREATE TABLE workflow (only INTEGER PRIMARY KEY CHECK (only = 1), name TEXT NOT NULL, definition TEXT NOT NULL);

CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    payload TEXT,
    phase INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL DEFAULT 0,
    wake INTEGER,
    expiry INTEGER,
    worker INTEGER,
    fence INTEGER NOT NULL DEFAULT 0,
    news INTEGER NOT NULL DEFAULT 0,
    added INTEGER NOT NULL
);
CREATE INDEX items_due ON items (priority DESC, wake, id) WHERE worker IS NULL AND wake IS NOT NULL;
-- Most items are completed, and nobody looks for them by what they wait for.
CREATE INDEX items_open ON items (key) WHERE phase <> 1;
CREATE INDEX items_expiry ON items (expiry) WHERE expiry IS NOT NULL;
CREATE INDEX items_held ON items (worker) WHERE worker IS NOT NULL;

CREATE TABLE stages (
    item INTEGER NOT NULL, stage INTEGER NOT NULL, state INTEGER NOT NULL, attempt INTEGER NOT NULL, updated INTEGER NOT NULL,
    started INTEGER, due INTEGER, error TEXT, artefact TEXT, summary TEXT, review TEXT, version TEXT,
    spent INTEGER NOT NULL, interruptions INTEGER NOT NULL, fan_out INTEGER NOT NULL,
    reruns INTEGER NOT NULL DEFAULT 0, feedback TEXT,
    PRIMARY KEY (item, stage)
) WITHOUT ROWID;
-- What is completed is most of the table and never searched for by state alone.
CREATE INDEX stages_open ON stages (stage, state, item) WHERE state <> 2;

-- How many items have each stage in each state, and (as stage 0) how many are in each phase; kept by every transaction.
CREATE TABLE counts (stage INTEGER NOT NULL, state INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (stage, state)) WITHOUT ROWID;

CREATE TABLE subtasks (
    item INTEGER NOT NULL, stage INTEGER NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, state INTEGER NOT NULL,
    attempt INTEGER NOT NULL, updated INTEGER NOT NULL, started INTEGER, due INTEGER, error TEXT, artefact TEXT, data TEXT,
    spent INTEGER NOT NULL, interruptions INTEGER NOT NULL, reruns INTEGER NOT NULL DEFAULT 0, feedback TEXT,
    PRIMARY KEY (item, stage, seq)
) WITHOUT ROWID;

CREATE TABLE attempts (
    item INTEGER NOT NULL, stage INTEGER NOT NULL, run INTEGER NOT NULL, seq INTEGER NOT NULL, number INTEGER NOT NULL,
    started INTEGER NOT NULL, ended INTEGER NOT NULL, how TEXT NOT NULL, artefact TEXT, summary TEXT, review TEXT,
    error TEXT, failure TEXT, metrics TEXT, verdict TEXT,
    PRIMARY KEY (item, stage, run, seq, number)
) WITHOUT ROWID;

CREATE TABLE reviews (
    id INTEGER PRIMARY KEY,
    item INTEGER NOT NULL, stage INTEGER NOT NULL, revision INTEGER NOT NULL, asked_by TEXT NOT NULL, attempt INTEGER NOT NULL,
    opened INTEGER NOT NULL, question TEXT NOT NULL, digest TEXT NOT NULL, gate TEXT, verdict TEXT, due INTEGER, due_then TEXT,
    author TEXT, holder TEXT, held_until INTEGER, before TEXT,
    decision TEXT, reviewer TEXT, decided INTEGER, note TEXT, edited TEXT, patch TEXT, output TEXT, feedback TEXT,
    UNIQUE (item, stage, revision)
);
CREATE INDEX reviews_open ON reviews (stage, id) WHERE decision IS NULL;
-- With all that filters look at, so that a page reads no review that it does not show.
CREATE INDEX reviews_waiting ON reviews (id, decision, stage, asked_by, verdict, holder, held_until, opened) WHERE decision IS NULL;

CREATE TABLE events (
    cursor INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL, item INTEGER NOT NULL, stage INTEGER, kind INTEGER NOT NULL, attempt INTEGER, subtask TEXT, data TEXT
);
CREATE INDEX events_item ON events (item);

CREATE TABLE workers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL, host TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL, beat INTEGER NOT NULL
);

CREATE VIEW stage_statuses AS SELECT
    i.key AS item_id, n.name AS stage,
    CASE s.state WHEN 0 THEN 'pending' WHEN 1 THEN 'running' WHEN 2 THEN 'completed' WHEN 3 THEN 'failed'
        WHEN 4 THEN 'awaiting_review' WHEN 5 THEN 'skipped' ELSE s.state END AS state,
    strftime('%Y-%m-%dT%H:%M:%S', s.updated / 1000000, 'unixepoch') || printf('.%06d+00:00', s.updated % 1000000) AS updated_at,
    s.error AS error, s.review AS review_data, s.attempt AS attempt, s.artefact AS artefact
FROM stages s JOIN items i ON i.id = s.item JOIN names n ON n.id = s.stage;

CREATE VIEW subtask_statuses AS SELECT
    i.key AS item_id, n.name AS stage, s.name AS subtask_name,
    CASE s.state WHEN 0 THEN 'pending' WHEN 1 THEN 'running' WHEN 2 THEN 'completed' WHEN 3 THEN 'failed'
        WHEN 4 THEN 'awaiting_review' WHEN 5 THEN 'skipped' ELSE s.state END AS state,
    s.error AS error,
    strftime('%Y-%m-%dT%H:%M:%S', s.updated / 1000000, 'unixepoch') || printf('.%06d+00:00', s.updated % 1000000) AS updated_at,
    s.attempt AS attempt, s.artefact AS artefact
FROM subtasks s JOIN items i ON i.id = s.item JOIN names n ON n.id = s.stage;
