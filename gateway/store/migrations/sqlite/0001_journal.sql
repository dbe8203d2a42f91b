-- The journal of one gateway. STRICT tables refuse a value of another type; triggers refuse to change history.

CREATE TABLE identity (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    site  TEXT NOT NULL,
    epoch TEXT NOT NULL
) STRICT;

-- run counts the starts of the program; confirmed is the last outbox row the billing store has.
CREATE TABLE progress (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    run       INTEGER NOT NULL,
    confirmed INTEGER NOT NULL
) STRICT;

-- Alarms, incidents and their pages: the record is JSON, the columns are what queries and constraints need.

CREATE TABLE alarms (
    key    TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT;

CREATE TABLE incidents (
    id        TEXT PRIMARY KEY,
    code      TEXT NOT NULL,
    state     TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    record    TEXT NOT NULL
) STRICT;
CREATE INDEX incidents_open ON incidents (opened_at) WHERE state <> 'closed';
CREATE INDEX incidents_by_time ON incidents (opened_at);

CREATE TABLE pages (
    id         TEXT PRIMARY KEY,
    dedupe_key TEXT NOT NULL UNIQUE,
    incident   TEXT,
    priority   TEXT NOT NULL,
    ack_token  TEXT,
    record     TEXT NOT NULL,
    state      TEXT NOT NULL,
    run        INTEGER NOT NULL,
    next_at    INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    last_error TEXT,
    settled_at INTEGER
) STRICT;
CREATE INDEX pages_due ON pages (priority, next_at) WHERE state IN ('pending', 'sending');
CREATE INDEX pages_by_incident ON pages (incident);
CREATE INDEX pages_by_token ON pages (ack_token);

CREATE TABLE page_attempts (
    seq     INTEGER PRIMARY KEY,
    page    TEXT NOT NULL REFERENCES pages (id),
    at      INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;
CREATE INDEX page_attempts_by_page ON page_attempts (page);

CREATE TABLE timeline (
    seq       INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    incident  TEXT,
    what      TEXT NOT NULL,
    subject   TEXT NOT NULL,
    detail    TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL
) STRICT;
CREATE INDEX timeline_by_incident ON timeline (incident, seq);

-- The ledger. seq orders it; wall time never does.

CREATE TABLE wallets (
    service_point TEXT PRIMARY KEY,
    utility       TEXT NOT NULL,
    opened_at     INTEGER NOT NULL,
    balance       INTEGER NOT NULL
) STRICT;

CREATE TABLE transfers (
    seq      INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    kind     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    cause    TEXT NOT NULL,
    reverses TEXT UNIQUE REFERENCES transfers (id)
) STRICT;

-- balance is what the wallet held right after; other accounts have none, so no row is hot.
CREATE TABLE postings (
    transfer INTEGER NOT NULL REFERENCES transfers (seq),
    leg      INTEGER NOT NULL,
    account  TEXT NOT NULL,
    amount   INTEGER NOT NULL CHECK (amount <> 0),
    balance  INTEGER,
    PRIMARY KEY (transfer, leg)
) STRICT, WITHOUT ROWID;
CREATE INDEX postings_by_account ON postings (account, transfer);

CREATE TABLE receipts (
    number        INTEGER PRIMARY KEY CHECK (number > 0),
    transfer      TEXT NOT NULL UNIQUE REFERENCES transfers (id),
    service_point TEXT NOT NULL REFERENCES wallets (service_point),
    amount        INTEGER NOT NULL CHECK (amount > 0),
    balance       INTEGER NOT NULL,
    channel       TEXT NOT NULL,
    at            INTEGER NOT NULL
) STRICT;
CREATE INDEX receipts_by_service_point ON receipts (service_point, number);

-- One key, one effect; one transaction of a channel, one credit.
CREATE TABLE top_up_keys (
    client      TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    channel     TEXT NOT NULL,
    channel_txn TEXT,
    receipt     INTEGER NOT NULL UNIQUE REFERENCES receipts (number),
    PRIMARY KEY (client, key)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX top_up_keys_by_txn ON top_up_keys (channel, channel_txn) WHERE channel_txn IS NOT NULL;

-- Usage. first_baselines is where tiling starts, baselines is where it stands.

CREATE TABLE first_baselines (
    service_point TEXT PRIMARY KEY REFERENCES wallets (service_point),
    raw           TEXT NOT NULL,
    at            INTEGER NOT NULL,
    exact         TEXT NOT NULL,
    posted        INTEGER NOT NULL
) STRICT;

CREATE TABLE baselines (
    service_point TEXT PRIMARY KEY REFERENCES first_baselines (service_point),
    raw           TEXT NOT NULL,
    at            INTEGER NOT NULL,
    exact         TEXT NOT NULL,
    posted        INTEGER NOT NULL
) STRICT;

CREATE TABLE usage_intervals (
    seq           INTEGER PRIMARY KEY,
    service_point TEXT NOT NULL REFERENCES first_baselines (service_point),
    device        TEXT NOT NULL,
    utility       TEXT NOT NULL,
    from_raw      TEXT NOT NULL,
    from_at       INTEGER NOT NULL,
    from_exact    TEXT NOT NULL,
    from_posted   INTEGER NOT NULL,
    to_raw        TEXT NOT NULL,
    to_at         INTEGER NOT NULL CHECK (to_at >= from_at),
    to_exact      TEXT NOT NULL,
    to_posted     INTEGER NOT NULL CHECK (to_posted >= from_posted),
    quantity      INTEGER NOT NULL CHECK (quantity >= 0),
    tariff        TEXT NOT NULL,
    quality       TEXT NOT NULL,
    transfer      TEXT UNIQUE REFERENCES transfers (id)
) STRICT;
CREATE INDEX usage_intervals_by_service_point ON usage_intervals (service_point, seq);

-- Supply.

CREATE TABLE supplies (
    service_point TEXT PRIMARY KEY,
    version       INTEGER NOT NULL,
    record        TEXT NOT NULL
) STRICT;

CREATE TABLE relay_intents (
    id            TEXT PRIMARY KEY,
    service_point TEXT NOT NULL,
    at            INTEGER NOT NULL,
    record        TEXT NOT NULL,
    outcome       TEXT,
    detail        TEXT,
    settled_at    INTEGER
) STRICT;
CREATE INDEX relay_intents_open ON relay_intents (at) WHERE outcome IS NULL;
CREATE INDEX relay_intents_by_service_point ON relay_intents (service_point, at);

-- Somebody has said that a paid supply may come back: nothing is left on, no tap is open.

CREATE TABLE close_permits (
    seq           INTEGER PRIMARY KEY CHECK (seq > 0),
    service_point TEXT NOT NULL,
    at            INTEGER NOT NULL,
    who           TEXT NOT NULL,
    via           TEXT NOT NULL
) STRICT;
CREATE INDEX close_permits_by_service_point ON close_permits (service_point, at);

CREATE TABLE notices (
    service_point TEXT NOT NULL,
    level         TEXT NOT NULL,
    cycle         INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    PRIMARY KEY (service_point, level, cycle)
) STRICT, WITHOUT ROWID;

CREATE TABLE notice_pages (
    service_point TEXT NOT NULL,
    level         TEXT NOT NULL,
    cycle         INTEGER NOT NULL,
    page          TEXT NOT NULL REFERENCES pages (id),
    PRIMARY KEY (service_point, level, cycle, page),
    FOREIGN KEY (service_point, level, cycle) REFERENCES notices (service_point, level, cycle)
) STRICT, WITHOUT ROWID;

-- What the billing store is owed. Confirmed rows are kept.

CREATE TABLE outbox (
    seq       INTEGER PRIMARY KEY CHECK (seq > 0),
    kind      TEXT NOT NULL,
    at        INTEGER NOT NULL,
    payload   TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL
) STRICT;

-- History is append only.

CREATE TRIGGER identity_no_update BEFORE UPDATE ON identity
BEGIN SELECT RAISE(ABORT, 'identity is append only'); END;
CREATE TRIGGER identity_no_delete BEFORE DELETE ON identity
BEGIN SELECT RAISE(ABORT, 'identity is append only'); END;

CREATE TRIGGER page_attempts_no_update BEFORE UPDATE ON page_attempts
BEGIN SELECT RAISE(ABORT, 'page_attempts is append only'); END;
CREATE TRIGGER page_attempts_no_delete BEFORE DELETE ON page_attempts
BEGIN SELECT RAISE(ABORT, 'page_attempts is append only'); END;

CREATE TRIGGER timeline_no_update BEFORE UPDATE ON timeline
BEGIN SELECT RAISE(ABORT, 'timeline is append only'); END;
CREATE TRIGGER timeline_no_delete BEFORE DELETE ON timeline
BEGIN SELECT RAISE(ABORT, 'timeline is append only'); END;

CREATE TRIGGER transfers_no_update BEFORE UPDATE ON transfers
BEGIN SELECT RAISE(ABORT, 'transfers is append only'); END;
CREATE TRIGGER transfers_no_delete BEFORE DELETE ON transfers
BEGIN SELECT RAISE(ABORT, 'transfers is append only'); END;

CREATE TRIGGER postings_no_update BEFORE UPDATE ON postings
BEGIN SELECT RAISE(ABORT, 'postings is append only'); END;
CREATE TRIGGER postings_no_delete BEFORE DELETE ON postings
BEGIN SELECT RAISE(ABORT, 'postings is append only'); END;

CREATE TRIGGER receipts_no_update BEFORE UPDATE ON receipts
BEGIN SELECT RAISE(ABORT, 'receipts is append only'); END;
CREATE TRIGGER receipts_no_delete BEFORE DELETE ON receipts
BEGIN SELECT RAISE(ABORT, 'receipts is append only'); END;

CREATE TRIGGER top_up_keys_no_update BEFORE UPDATE ON top_up_keys
BEGIN SELECT RAISE(ABORT, 'top_up_keys is append only'); END;
CREATE TRIGGER top_up_keys_no_delete BEFORE DELETE ON top_up_keys
BEGIN SELECT RAISE(ABORT, 'top_up_keys is append only'); END;

CREATE TRIGGER first_baselines_no_update BEFORE UPDATE ON first_baselines
BEGIN SELECT RAISE(ABORT, 'first_baselines is append only'); END;
CREATE TRIGGER first_baselines_no_delete BEFORE DELETE ON first_baselines
BEGIN SELECT RAISE(ABORT, 'first_baselines is append only'); END;

CREATE TRIGGER usage_intervals_no_update BEFORE UPDATE ON usage_intervals
BEGIN SELECT RAISE(ABORT, 'usage_intervals is append only'); END;
CREATE TRIGGER usage_intervals_no_delete BEFORE DELETE ON usage_intervals
BEGIN SELECT RAISE(ABORT, 'usage_intervals is append only'); END;

CREATE TRIGGER close_permits_no_update BEFORE UPDATE ON close_permits
BEGIN SELECT RAISE(ABORT, 'close_permits is append only'); END;
CREATE TRIGGER close_permits_no_delete BEFORE DELETE ON close_permits
BEGIN SELECT RAISE(ABORT, 'close_permits is append only'); END;

CREATE TRIGGER notices_no_update BEFORE UPDATE ON notices
BEGIN SELECT RAISE(ABORT, 'notices is append only'); END;
CREATE TRIGGER notices_no_delete BEFORE DELETE ON notices
BEGIN SELECT RAISE(ABORT, 'notices is append only'); END;

CREATE TRIGGER notice_pages_no_update BEFORE UPDATE ON notice_pages
BEGIN SELECT RAISE(ABORT, 'notice_pages is append only'); END;
CREATE TRIGGER notice_pages_no_delete BEFORE DELETE ON notice_pages
BEGIN SELECT RAISE(ABORT, 'notice_pages is append only'); END;

CREATE TRIGGER outbox_no_update BEFORE UPDATE ON outbox
BEGIN SELECT RAISE(ABORT, 'outbox is append only'); END;
CREATE TRIGGER outbox_no_delete BEFORE DELETE ON outbox
BEGIN SELECT RAISE(ABORT, 'outbox is append only'); END;

-- A wallet's name and utility stay; only its balance moves.
CREATE TRIGGER wallets_no_rename BEFORE UPDATE OF service_point, utility, opened_at ON wallets
BEGIN SELECT RAISE(ABORT, 'a wallet keeps its service point and utility'); END;
CREATE TRIGGER wallets_no_delete BEFORE DELETE ON wallets
BEGIN SELECT RAISE(ABORT, 'a wallet is never deleted'); END;

-- What a command was meant to do is evidence; its outcome is written once.
CREATE TRIGGER relay_intents_content BEFORE UPDATE OF id, service_point, at, record ON relay_intents
BEGIN SELECT RAISE(ABORT, 'an intent keeps its content'); END;
CREATE TRIGGER relay_intents_settled BEFORE UPDATE ON relay_intents WHEN OLD.outcome IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'an intent is settled once'); END;
CREATE TRIGGER relay_intents_no_delete BEFORE DELETE ON relay_intents
BEGIN SELECT RAISE(ABORT, 'an intent is never deleted'); END;

CREATE TRIGGER pages_content BEFORE UPDATE OF id, dedupe_key, incident, ack_token, record ON pages
BEGIN SELECT RAISE(ABORT, 'a page keeps its content'); END;
CREATE TRIGGER pages_no_delete BEFORE DELETE ON pages
BEGIN SELECT RAISE(ABORT, 'a page is never deleted'); END;
