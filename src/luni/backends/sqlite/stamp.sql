-- When somebody last set a field: focus, summary, paused, m:{key} of metadata, v:{key} of variables. stamp = clock-writer-seq.
CREATE TABLE stamp (
  conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
  name         TEXT NOT NULL,
  stamp        TEXT NOT NULL,
  PRIMARY KEY (conversation, name)
) WITHOUT ROWID;
