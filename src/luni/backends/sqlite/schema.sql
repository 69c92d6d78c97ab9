-- One row a (tenant, channel, user). Between sessions session_id is NULL and only what tells a second delivery is left.
CREATE TABLE conversation (
  id           INTEGER PRIMARY KEY,
  tenant       TEXT NOT NULL,
  channel      TEXT NOT NULL,
  user         TEXT NOT NULL,
  session_id   TEXT,
  created_ms   INTEGER NOT NULL DEFAULT 0,
  activity_ms  INTEGER NOT NULL DEFAULT 0,
  metadata     BLOB NOT NULL DEFAULT x'',
  context      BLOB NOT NULL DEFAULT x'',
  summary      TEXT NOT NULL DEFAULT '',
  focus        TEXT NOT NULL DEFAULT '',
  paused       INTEGER NOT NULL DEFAULT 0,
  pause        BLOB NOT NULL DEFAULT x'',     -- until|at|by whom and why, ms; empty where another program paused it
  token_est    INTEGER NOT NULL DEFAULT 0,
  n            INTEGER NOT NULL DEFAULT 0,   -- arrival number of the newest message
  settled      INTEGER NOT NULL DEFAULT 0,   -- everything up to this arrival is answered
  count        INTEGER NOT NULL DEFAULT 0,
  tokens       INTEGER NOT NULL DEFAULT 0,
  folded       INTEGER NOT NULL DEFAULT 0,
  rev          INTEGER NOT NULL DEFAULT 0,
  fence        INTEGER NOT NULL DEFAULT 0,   -- the last token given
  clock_ms     INTEGER NOT NULL DEFAULT 0,
  loaded       TEXT NOT NULL DEFAULT '',     -- digest of the last import
  lease        TEXT NOT NULL DEFAULT '',     -- owner|token
  lease_end_ms INTEGER NOT NULL DEFAULT 0,
  queue        TEXT NOT NULL DEFAULT '',     -- ticket,until;… of the turns that wait for the conversation
  expire_ms    INTEGER NOT NULL DEFAULT 0,   -- when the session expires
  seen_end_ms  INTEGER NOT NULL DEFAULT 0,   -- when the accepted ids are forgotten
  waiting_ms   INTEGER NOT NULL DEFAULT 0,   -- when the oldest message that waits for an answer arrived; 0: none waits
  purge_ms     INTEGER NOT NULL DEFAULT 0,   -- when something of this row must go next
  UNIQUE (tenant, channel, user)
);
CREATE UNIQUE INDEX conversation_session ON conversation (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX conversation_activity ON conversation (tenant, activity_ms DESC, id) WHERE session_id IS NOT NULL;
CREATE INDEX conversation_purge ON conversation (purge_ms);
CREATE INDEX conversation_waiting ON conversation (waiting_ms) WHERE waiting_ms > 0;

-- The messages held, oldest first: the newest 20 are the window, those before them wait to be folded.
CREATE TABLE message (
  conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
  position     INTEGER NOT NULL,
  n            INTEGER NOT NULL,
  text         BLOB NOT NULL,
  PRIMARY KEY (conversation, position)
) WITHOUT ROWID;

CREATE TABLE transcript (
  conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
  position     INTEGER NOT NULL,
  text         BLOB NOT NULL,
  PRIMARY KEY (conversation, position)
) WITHOUT ROWID;

-- Accepted message ids as digests, the newest 128. state: w waits, a answered, s settled without an answer.
CREATE TABLE accepted (
  conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
  n            INTEGER NOT NULL,
  digest       TEXT NOT NULL,
  state        TEXT NOT NULL,
  token        INTEGER NOT NULL,
  attempt      INTEGER NOT NULL,
  answer       TEXT NOT NULL,
  arrived_ms   INTEGER NOT NULL,
  PRIMARY KEY (conversation, n),
  UNIQUE (conversation, digest)
) WITHOUT ROWID;

-- Messages of replies that wait to be marked as sent, in their order.
CREATE TABLE unsent (
  number       INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
  id           TEXT NOT NULL,
  ms           INTEGER NOT NULL,
  text         BLOB NOT NULL,
  UNIQUE (conversation, id)
);
CREATE INDEX unsent_ms ON unsent (ms);

-- What sweepers have claimed, and until when. since is 0 where a claim is on all that waits of a conversation.
CREATE TABLE claim (
  list         TEXT NOT NULL,
  conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
  since        INTEGER NOT NULL,
  claimer      TEXT NOT NULL,
  until_ms     INTEGER NOT NULL,
  PRIMARY KEY (list, conversation, since)
) WITHOUT ROWID;

-- What each writer did last, and its result: a repeated operation is told from a new one.
CREATE TABLE mark (
  conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
  writer       TEXT NOT NULL,
  seq          INTEGER NOT NULL,
  ms           INTEGER NOT NULL,
  result       TEXT NOT NULL,
  PRIMARY KEY (conversation, writer)
) WITHOUT ROWID;
