-- Named locks and agendas: what a file of schema 1 lacks.

-- Named locks, a tenant's (channel and user are '') and a session's. A row outlives its lock, for the fence.
CREATE TABLE lock (
  tenant     TEXT NOT NULL,
  channel    TEXT NOT NULL,
  user       TEXT NOT NULL,
  name       TEXT NOT NULL,
  owner      TEXT NOT NULL DEFAULT '',
  token      INTEGER NOT NULL DEFAULT 0,    -- the last one given
  until_ms   INTEGER NOT NULL DEFAULT 0,    -- until when it is held; 0: it is free
  session_id TEXT NOT NULL DEFAULT '',      -- the session whose lock it is
  queue      TEXT NOT NULL DEFAULT '',      -- owner,until;… of those who wait, the first come first
  purge_ms   INTEGER NOT NULL,
  PRIMARY KEY (tenant, channel, user, name)
) WITHOUT ROWID;
CREATE INDEX lock_purge ON lock (purge_ms);
CREATE INDEX lock_token ON lock (token);

-- Bookings, one row a resource. state: h held until until_ms, c confirmed, x cancelled.
CREATE TABLE booking (
  tenant     TEXT NOT NULL,
  resource   TEXT NOT NULL,
  id         TEXT NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('h', 'c', 'x')),
  unit       INTEGER NOT NULL CHECK (unit >= 0),
  start_us   INTEGER NOT NULL,
  end_us     INTEGER NOT NULL CHECK (end_us > start_us),
  until_ms   INTEGER NOT NULL,
  keep_ms    INTEGER NOT NULL,              -- when it is forgotten
  created_ms INTEGER NOT NULL,
  customer   TEXT NOT NULL,
  shares     TEXT NOT NULL,                 -- JSON: [[resource, capacity], …], the leading one first
  leads      INTEGER NOT NULL,              -- whether this row's resource is that
  details    BLOB NOT NULL DEFAULT x'',
  PRIMARY KEY (tenant, resource, id)
) WITHOUT ROWID;
CREATE INDEX booking_timeline ON booking (tenant, resource, unit, start_us) WHERE state <> 'x';
CREATE INDEX booking_customer ON booking (tenant, customer, start_us) WHERE leads AND state <> 'x';
CREATE INDEX booking_keep ON booking (keep_ms);
CREATE INDEX booking_hold ON booking (until_ms) WHERE state = 'h';

-- A unit's bookings are disjoint, so the one that begins last before the end decides. Whoever writes here, the database refuses.
CREATE TRIGGER booking_inserted BEFORE INSERT ON booking WHEN NEW.state <> 'x' AND (
  SELECT end_us FROM booking WHERE tenant = NEW.tenant AND resource = NEW.resource AND unit = NEW.unit AND state <> 'x'
    AND start_us < NEW.end_us ORDER BY start_us DESC LIMIT 1) > NEW.start_us
BEGIN SELECT RAISE(ABORT, 'the interval overlaps another booking'); END;

CREATE TRIGGER booking_updated BEFORE UPDATE ON booking WHEN NEW.state <> 'x' AND (
  SELECT end_us FROM booking WHERE tenant = NEW.tenant AND resource = NEW.resource AND unit = NEW.unit AND state <> 'x'
    AND start_us < NEW.end_us AND NOT (resource = OLD.resource AND id = OLD.id) ORDER BY start_us DESC LIMIT 1) > NEW.start_us
BEGIN SELECT RAISE(ABORT, 'the interval overlaps another booking'); END;

-- What each writer did last on a resource's agenda, refusals included.
CREATE TABLE agenda_mark (
  tenant   TEXT NOT NULL,
  resource TEXT NOT NULL,
  writer   TEXT NOT NULL,
  seq      INTEGER NOT NULL,
  ms       INTEGER NOT NULL,
  result   TEXT NOT NULL,
  PRIMARY KEY (tenant, resource, writer)
) WITHOUT ROWID;
CREATE INDEX agenda_mark_ms ON agenda_mark (ms);
