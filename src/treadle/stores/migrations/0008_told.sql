-- Version 8: a stage's own row says where the journal tells of its first start and end, if that is one row there (see version 7).
-- No index of an item's events holds those rows then, which are most of them.

ALTER TABLE stages ADD COLUMN told INTEGER;

UPDATE stages SET told = e.cursor FROM events e
WHERE e.began IS NOT NULL AND stages.item = e.item AND stages.stage = e.stage;

DROP INDEX events_item;
CREATE INDEX events_item ON events (item) WHERE began IS NULL;
