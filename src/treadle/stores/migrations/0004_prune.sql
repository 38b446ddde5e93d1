-- Version 4: items can be pruned. The number of an item is never given twice, so that nobody who remembers one takes
-- another for it.

DROP VIEW stage_statuses;
DROP VIEW subtask_statuses;

CREATE TABLE new_items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    payload TEXT,
    phase INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL DEFAULT 0,
    wake INTEGER,
    expiry INTEGER,
    worker INTEGER,
    fence INTEGER NOT NULL DEFAULT 0,
    news INTEGER NOT NULL DEFAULT 0,
    added INTEGER NOT NULL,
    lost TEXT
);
INSERT INTO new_items (id, key, payload, phase, priority, wake, expiry, worker, fence, news, added, lost)
    SELECT id, key, payload, phase, priority, wake, expiry, worker, fence, news, added, lost FROM items;
DROP TABLE items;
ALTER TABLE new_items RENAME TO items;
CREATE INDEX items_due ON items (priority DESC, wake, id) WHERE worker IS NULL AND wake IS NOT NULL;
-- Most items are completed, and nobody looks for them by what they wait for.
CREATE INDEX items_open ON items (key) WHERE phase <> 1;
CREATE INDEX items_expiry ON items (expiry) WHERE expiry IS NOT NULL;
CREATE INDEX items_held ON items (worker) WHERE worker IS NOT NULL;

-- Items that are no more, of which rows are still to be removed: a few at a time, so that nobody waits long for the lock.
CREATE TABLE leftovers (item INTEGER PRIMARY KEY);

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
