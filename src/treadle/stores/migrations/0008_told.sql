-- Version 8: a stage's own row says where the journal tells of its first start and end, if that is one row there (see version 7).
-- No index of an item's events holds those rows then, which are most of them.

ALTER TABLE stages ADD COLUMN told INTEGER;

UPDATE stages SET told = (
    SELECT max(e.cursor) FROM events e WHERE e.item = stages.item AND e.stage = stages.stage AND e.began IS NOT NULL
);

DROP INDEX events_item;
CREATE INDEX events_item ON events (item) WHERE began IS NULL;
