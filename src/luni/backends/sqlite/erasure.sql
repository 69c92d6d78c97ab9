-- Who was erased, and when: what a file of the schema before lacks. Digests mean nothing without the key.
CREATE TABLE tombstone (
  digest BLOB PRIMARY KEY,
  ms     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE tombstone_key (
  secret BLOB NOT NULL
);
CREATE INDEX booking_whose ON booking (tenant, customer);
