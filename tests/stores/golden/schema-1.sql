-- A store as the first schema had it, with every kind of row.
CREATE TABLE stage_statuses (item_id TEXT NOT NULL, stage TEXT NOT NULL, state TEXT NOT NULL, updated_at TEXT NOT NULL,
    error TEXT, review_data TEXT, PRIMARY KEY (item_id, stage));
CREATE TABLE subtask_statuses (item_id TEXT NOT NULL, stage TEXT NOT NULL, subtask_name TEXT NOT NULL, state TEXT NOT NULL,
    error TEXT, updated_at TEXT NOT NULL, PRIMARY KEY (item_id, stage, subtask_name));
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE INDEX idx_stage_state ON stage_statuses (stage, state);
INSERT INTO schema_version VALUES (1);
INSERT INTO stage_statuses VALUES ('doc-1', 'scan', 'completed', '2024-05-01T10:00:00.123456789+00:00', NULL, NULL);
INSERT INTO stage_statuses VALUES ('doc-1', 'fetch', 'failed', '2024-05-01T10:00:01+00:00', 'timeout', NULL);
INSERT INTO stage_statuses VALUES ('doc-2', 'ask', 'awaiting_review', '2024-05-01T10:00:02+00:00', NULL,
    '{"summary": "look", "details": {"a": 1}, "created_at": "2024-05-01T10:00:00+00:00"}');
INSERT INTO stage_statuses VALUES ('doc-3', 'scan', 'pending', '2024-05-01T10:00:03+00:00', NULL, NULL);
INSERT INTO stage_statuses VALUES ('doc-4', 'scan', 'running', '2024-05-01T10:00:04+00:00', NULL, NULL);
INSERT INTO stage_statuses VALUES ('doc-5', 'scan', 'skipped', '2024-05-01T10:00:05+00:00', NULL, NULL);
INSERT INTO subtask_statuses VALUES ('doc-1', 'fetch', 'page-1', 'completed', NULL, '2024-05-01T10:00:06+00:00');
INSERT INTO subtask_statuses VALUES ('doc-1', 'fetch', 'page-2', 'failed', 'timeout', '2024-05-01T10:00:07+00:00');
