-- Version 7: a stage that ends at once tells of its start and its end in one row of the journal. The row is the end's, and
-- this is when it began; the start is the event before it, whose cursor no other row has.

ALTER TABLE events ADD COLUMN began INTEGER;

-- For SQL tools: a row for each event.
CREATE VIEW journal AS
WITH each_event (cursor, at, item, kind, stage, subtask, attempt, data) AS (
    SELECT cursor - 1, began, item, 1, stage, NULL, attempt, NULL FROM events WHERE began IS NOT NULL
    UNION ALL SELECT cursor, at, item, kind, stage, subtask, attempt, data FROM events
)
SELECT
    e.cursor AS cursor,
    strftime('%Y-%m-%dT%H:%M:%S', e.at / 1000000, 'unixepoch') || printf('.%06d+00:00', e.at % 1000000) AS at,
    coalesce(i.key, '') AS item_id,
    CASE e.kind
        WHEN 0 THEN 'item_added' WHEN 1 THEN 'stage_started' WHEN 2 THEN 'stage_progress' WHEN 3 THEN 'stage_completed'
        WHEN 4 THEN 'stage_failed' WHEN 5 THEN 'stage_skipped' WHEN 6 THEN 'stage_interrupted' WHEN 7 THEN 'stage_retried'
        WHEN 8 THEN 'retry_scheduled' WHEN 9 THEN 'review_required' WHEN 10 THEN 'review_decided'
        WHEN 11 THEN 'fan_out_started' WHEN 12 THEN 'subtask_started' WHEN 13 THEN 'subtask_completed'
        WHEN 14 THEN 'subtask_failed' WHEN 15 THEN 'subtask_skipped' WHEN 16 THEN 'workflow_completed'
        WHEN 17 THEN 'item_cancelled' WHEN 18 THEN 'quality_check_passed' WHEN 19 THEN 'quality_check_failed'
        WHEN 20 THEN 'retry_attempt' WHEN 21 THEN 'escalated' WHEN 22 THEN 'review_reopened' WHEN 23 THEN 'stage_rerun'
        WHEN 24 THEN 'items_pruned' WHEN 25 THEN 'commit_refused'
        ELSE e.kind END AS kind,
    n.name AS stage, e.subtask AS subtask_name, e.attempt AS attempt, e.data AS data
FROM each_event e LEFT JOIN items i ON i.id = e.item LEFT JOIN names n ON n.id = e.stage
-- Not of items that are being pruned; what happened to the store as a whole is of none.
WHERE i.id IS NOT NULL OR e.item = 0;
