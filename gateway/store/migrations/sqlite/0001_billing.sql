-- The bookkeeper's copy, on SQLite. The same tables exist for the other database; keep them alike.

-- One row per gateway life: the seq it has to send next and the hash of its last row.
CREATE TABLE cursors (
    site      TEXT NOT NULL,
    epoch     TEXT NOT NULL,
    next      INTEGER NOT NULL,
    last_hash TEXT NOT NULL,
    PRIMARY KEY (site, epoch)
) STRICT, WITHOUT ROWID;

-- The rows as they came. Everything below can be made from them again.
CREATE TABLE inbox (
    site      TEXT NOT NULL,
    epoch     TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    at        INTEGER NOT NULL,
    payload   TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL,
    PRIMARY KEY (site, epoch, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE wallets (
    site          TEXT NOT NULL,
    epoch         TEXT NOT NULL,
    service_point TEXT NOT NULL,
    utility       TEXT NOT NULL,
    opened_at     INTEGER NOT NULL,
    PRIMARY KEY (site, epoch, service_point)
) STRICT, WITHOUT ROWID;

CREATE TABLE transfers (
    site     TEXT NOT NULL,
    epoch    TEXT NOT NULL,
    id       TEXT NOT NULL,
    kind     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    cause    TEXT NOT NULL,
    reverses TEXT,
    seq      INTEGER NOT NULL,
    PRIMARY KEY (site, epoch, id)
) STRICT, WITHOUT ROWID;

-- Amounts in hao (0.0001 yuan); credits are positive.
CREATE TABLE postings (
    site     TEXT NOT NULL,
    epoch    TEXT NOT NULL,
    transfer TEXT NOT NULL,
    leg      INTEGER NOT NULL,
    account  TEXT NOT NULL,
    amount   INTEGER NOT NULL,
    PRIMARY KEY (site, epoch, transfer, leg)
) STRICT, WITHOUT ROWID;

-- Amounts in fen, balances in hao.
CREATE TABLE receipts (
    site          TEXT NOT NULL,
    epoch         TEXT NOT NULL,
    number        INTEGER NOT NULL,
    transfer      TEXT NOT NULL,
    service_point TEXT NOT NULL,
    amount        INTEGER NOT NULL,
    balance       INTEGER NOT NULL,
    channel       TEXT NOT NULL,
    channel_txn   TEXT,
    at            INTEGER NOT NULL,
    PRIMARY KEY (site, epoch, number)
) STRICT, WITHOUT ROWID;

-- Registers are u64 and exact charges i128: both as text. Quantities in Wh or mL.
CREATE TABLE usage_intervals (
    site          TEXT NOT NULL,
    epoch         TEXT NOT NULL,
    seq           INTEGER NOT NULL,
    service_point TEXT NOT NULL,
    device        TEXT NOT NULL,
    utility       TEXT NOT NULL,
    from_raw      TEXT NOT NULL,
    from_at       INTEGER NOT NULL,
    from_exact    TEXT NOT NULL,
    from_posted   INTEGER NOT NULL,
    to_raw        TEXT NOT NULL,
    to_at         INTEGER NOT NULL,
    to_exact      TEXT NOT NULL,
    to_posted     INTEGER NOT NULL,
    quantity      INTEGER NOT NULL,
    tariff        TEXT NOT NULL,
    quality       TEXT NOT NULL,
    transfer      TEXT,
    PRIMARY KEY (site, epoch, seq)
) STRICT, WITHOUT ROWID;

-- The last that was heard of each; seq says from which row.
CREATE TABLE incidents (
    site      TEXT NOT NULL,
    epoch     TEXT NOT NULL,
    id        TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    code      TEXT NOT NULL,
    plan      TEXT NOT NULL,
    priority  TEXT NOT NULL,
    state     TEXT NOT NULL,
    root      TEXT NOT NULL,
    title_zh  TEXT NOT NULL,
    title_en  TEXT NOT NULL,
    owner     TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    acked_at  INTEGER,
    acked_by  TEXT,
    closed_at INTEGER,
    PRIMARY KEY (site, epoch, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX postings_by_account ON postings (site, account);
CREATE INDEX usage_intervals_by_service_point ON usage_intervals (site, service_point, to_at);
CREATE UNIQUE INDEX receipts_by_transfer ON receipts (site, epoch, transfer);

-- What came is never changed or deleted.

CREATE TRIGGER inbox_no_update BEFORE UPDATE ON inbox
BEGIN SELECT RAISE(ABORT, 'inbox is append only'); END;
CREATE TRIGGER inbox_no_delete BEFORE DELETE ON inbox
BEGIN SELECT RAISE(ABORT, 'inbox is append only'); END;
CREATE TRIGGER wallets_no_update BEFORE UPDATE ON wallets
BEGIN SELECT RAISE(ABORT, 'wallets is append only'); END;
CREATE TRIGGER wallets_no_delete BEFORE DELETE ON wallets
BEGIN SELECT RAISE(ABORT, 'wallets is append only'); END;
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
CREATE TRIGGER usage_intervals_no_update BEFORE UPDATE ON usage_intervals
BEGIN SELECT RAISE(ABORT, 'usage_intervals is append only'); END;
CREATE TRIGGER usage_intervals_no_delete BEFORE DELETE ON usage_intervals
BEGIN SELECT RAISE(ABORT, 'usage_intervals is append only'); END;
