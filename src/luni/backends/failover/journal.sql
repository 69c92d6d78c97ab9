-- What was acknowledged while the primary was away, in the order it was. state: p waits to be replayed, d was refused for good.
CREATE TABLE entry (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  namespace  TEXT NOT NULL,
  tenant     TEXT NOT NULL,
  channel    TEXT NOT NULL,
  user       TEXT NOT NULL,
  state      TEXT NOT NULL DEFAULT 'p',
  kind       TEXT NOT NULL,
  writer     TEXT NOT NULL,
  seq        INTEGER NOT NULL,
  at_ms      INTEGER NOT NULL,
  reason     TEXT NOT NULL DEFAULT '',   -- why it is dead
  checksum   INTEGER NOT NULL,           -- CRC-32 of body
  body       BLOB NOT NULL
);
CREATE INDEX entry_pending ON entry (namespace, tenant, channel, user, id) WHERE state = 'p';
CREATE INDEX entry_dead ON entry (namespace, id) WHERE state = 'd';

-- Erasures that the primary does not know of yet. user is '' for a whole tenant.
CREATE TABLE erasure (
  namespace TEXT NOT NULL,
  tenant    TEXT NOT NULL,
  user      TEXT NOT NULL,
  at_ms     INTEGER NOT NULL,
  PRIMARY KEY (namespace, tenant, user)
) WITHOUT ROWID;

-- How often what happened, and what is known of the server (its clock, which one it is).
CREATE TABLE note (
  namespace TEXT NOT NULL,
  name      TEXT NOT NULL,
  value     TEXT NOT NULL,
  PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
