-- Version 3: since when workers live, who lost an item last, and whether workers may claim.

ALTER TABLE items ADD COLUMN lost TEXT;

ALTER TABLE workers ADD COLUMN since INTEGER NOT NULL DEFAULT 0;

CREATE TABLE control (only INTEGER PRIMARY KEY CHECK (only = 1), mode TEXT NOT NULL, by TEXT, at INTEGER NOT NULL);

-- What each process wrote last, where nothing else in the transaction tells that it took place.
CREATE TABLE marks (writer TEXT PRIMARY KEY, number INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
