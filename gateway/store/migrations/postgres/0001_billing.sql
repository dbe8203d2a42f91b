-- The bookkeeper's copy, on PostgreSQL. The same tables exist for the other database; keep them alike.

-- One row per gateway life: the seq it has to send next and the hash of its last row.
CREATE TABLE cursors (
    site      TEXT NOT NULL,
    epoch     TEXT NOT NULL,
    next      BIGINT NOT NULL,
    last_hash TEXT NOT NULL,
    PRIMARY KEY (site, epoch)
);

-- The rows as they came. Everything below can be made from them again.
CREATE TABLE inbox (
    site      TEXT NOT NULL,
    epoch     TEXT NOT NULL,
    seq       BIGINT NOT NULL,
    kind      TEXT NOT NULL,
    at        BIGINT NOT NULL,
    payload   TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL,
    PRIMARY KEY (site, epoch, seq)
);

CREATE TABLE wallets (
    site          TEXT NOT NULL,
    epoch         TEXT NOT NULL,
    service_point TEXT NOT NULL,
    utility       TEXT NOT NULL,
    opened_at     BIGINT NOT NULL,
    PRIMARY KEY (site, epoch, service_point)
);

CREATE TABLE transfers (
    site     TEXT NOT NULL,
    epoch    TEXT NOT NULL,
    id       TEXT NOT NULL,
    kind     TEXT NOT NULL,
    at       BIGINT NOT NULL,
    cause    TEXT NOT NULL,
    reverses TEXT,
    seq      BIGINT NOT NULL,
    PRIMARY KEY (site, epoch, id)
);

-- Amounts in hao (0.0001 yuan); credits are positive.
CREATE TABLE postings (
    site     TEXT NOT NULL,
    epoch    TEXT NOT NULL,
    transfer TEXT NOT NULL,
    leg      BIGINT NOT NULL,
    account  TEXT NOT NULL,
    amount   BIGINT NOT NULL,
    PRIMARY KEY (site, epoch, transfer, leg)
);

-- Amounts in fen, balances in hao.
CREATE TABLE receipts (
    site          TEXT NOT NULL,
    epoch         TEXT NOT NULL,
    number        BIGINT NOT NULL,
    transfer      TEXT NOT NULL,
    service_point TEXT NOT NULL,
    amount        BIGINT NOT NULL,
    balance       BIGINT NOT NULL,
    channel       TEXT NOT NULL,
    channel_txn   TEXT,
    at            BIGINT NOT NULL,
    PRIMARY KEY (site, epoch, number)
);

-- Registers are u64 and exact charges i128: both as text. Quantities in Wh or mL.
CREATE TABLE usage_intervals (
    site          TEXT NOT NULL,
    epoch         TEXT NOT NULL,
    seq           BIGINT NOT NULL,
    service_point TEXT NOT NULL,
    device        TEXT NOT NULL,
    utility       TEXT NOT NULL,
    from_raw      TEXT NOT NULL,
    from_at       BIGINT NOT NULL,
    from_exact    TEXT NOT NULL,
    from_posted   BIGINT NOT NULL,
    to_raw        TEXT NOT NULL,
    to_at         BIGINT NOT NULL,
    to_exact      TEXT NOT NULL,
    to_posted     BIGINT NOT NULL,
    quantity      BIGINT NOT NULL,
    tariff        TEXT NOT NULL,
    quality       TEXT NOT NULL,
    transfer      TEXT,
    PRIMARY KEY (site, epoch, seq)
);

-- The last that was heard of each; seq says from which row.
CREATE TABLE incidents (
    site      TEXT NOT NULL,
    epoch     TEXT NOT NULL,
    id        TEXT NOT NULL,
    seq       BIGINT NOT NULL,
    code      TEXT NOT NULL,
    plan      TEXT NOT NULL,
    priority  TEXT NOT NULL,
    state     TEXT NOT NULL,
    root      TEXT NOT NULL,
    title_zh  TEXT NOT NULL,
    title_en  TEXT NOT NULL,
    owner     TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    acked_at  BIGINT,
    acked_by  TEXT,
    closed_at BIGINT,
    PRIMARY KEY (site, epoch, id)
);

CREATE INDEX postings_by_account ON postings (site, account);
CREATE INDEX usage_intervals_by_service_point ON usage_intervals (site, service_point, to_at);
CREATE UNIQUE INDEX receipts_by_transfer ON receipts (site, epoch, transfer);

-- What came is never changed or deleted.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append only', TG_TABLE_NAME; END;
$$;

CREATE TRIGGER inbox_append_only BEFORE UPDATE OR DELETE ON inbox FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER wallets_append_only BEFORE UPDATE OR DELETE ON wallets FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_append_only BEFORE UPDATE OR DELETE ON transfers FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER postings_append_only BEFORE UPDATE OR DELETE ON postings FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER receipts_append_only BEFORE UPDATE OR DELETE ON receipts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER usage_intervals_append_only BEFORE UPDATE OR DELETE ON usage_intervals FOR EACH ROW EXECUTE FUNCTION refuse_change();
