-- Credits of meters with a wallet whose fate is known; amounts in fen. Only those that are in the meter have moved money.
CREATE TABLE meter_credits (
    site          TEXT NOT NULL,
    epoch         TEXT NOT NULL,
    receipt       INTEGER NOT NULL,
    service_point TEXT NOT NULL,
    amount        INTEGER NOT NULL,
    count         INTEGER,
    state         TEXT NOT NULL,
    detail        TEXT NOT NULL,
    decided_by    TEXT,
    at            INTEGER NOT NULL,
    transfer      TEXT,
    seq           INTEGER NOT NULL,
    PRIMARY KEY (site, epoch, receipt)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER meter_credits_no_update BEFORE UPDATE ON meter_credits
BEGIN SELECT RAISE(ABORT, 'meter_credits is append only'); END;
CREATE TRIGGER meter_credits_no_delete BEFORE DELETE ON meter_credits
BEGIN SELECT RAISE(ABORT, 'meter_credits is append only'); END;
