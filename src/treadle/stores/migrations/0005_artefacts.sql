-- Version 5: large artefacts lie in files; which item may speak of which of them. A row here comes before the file, and the
-- file before whatever speaks of it, so that files without a row here are nobody's.

CREATE TABLE artefacts (item INTEGER NOT NULL, reference TEXT NOT NULL, PRIMARY KEY (item, reference)) WITHOUT ROWID;
CREATE INDEX artefacts_reference ON artefacts (reference);
