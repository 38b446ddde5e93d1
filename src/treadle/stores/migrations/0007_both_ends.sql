-- Version 7: a stage that ends at once tells of its start and its end in one row of the journal. The row is the end's, and
-- this is when it began; the start is the event before it, whose cursor no other row has.

ALTER TABLE events ADD COLUMN began INTEGER;
