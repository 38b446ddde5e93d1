-- Version 6: an item's own priority, beside the one by which it is claimed now.

ALTER TABLE items ADD COLUMN urgency INTEGER NOT NULL DEFAULT 0;
