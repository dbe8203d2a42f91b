-- What a tenant's meter holds. A credit moves there with the transfer that its row names: one credit, one transfer. The table
-- is made anew because its states have become more.

ALTER TABLE wallets ADD COLUMN in_meter INTEGER NOT NULL DEFAULT 0;

CREATE TABLE meter_credits_next (
    receipt       INTEGER PRIMARY KEY REFERENCES receipts (number),
    service_point TEXT NOT NULL,
    amount        INTEGER NOT NULL CHECK (amount > 0),
    count         INTEGER CHECK (count > 0),
    state         TEXT NOT NULL CHECK (state IN
                      ('pending', 'sent', 'uncertain', 'held', 'manual', 'confirmed', 'not_applied')),
    attempts      INTEGER NOT NULL,
    detail        TEXT NOT NULL,
    at            INTEGER NOT NULL,
    decided_by    TEXT,
    transfer      TEXT UNIQUE REFERENCES transfers (id),
    CHECK (count IS NOT NULL OR state IN ('pending', 'manual', 'not_applied')),
    CHECK (transfer IS NULL OR state = 'confirmed'),
    CHECK (decided_by IS NULL OR state IN ('confirmed', 'not_applied'))
) STRICT;
INSERT INTO meter_credits_next (receipt, service_point, amount, count, state, attempts, detail, at)
    SELECT receipt, service_point, amount, count, state, attempts, detail, at FROM meter_credits;
DROP TABLE meter_credits;
ALTER TABLE meter_credits_next RENAME TO meter_credits;

CREATE INDEX meter_credits_open ON meter_credits (service_point, receipt) WHERE state NOT IN ('confirmed', 'not_applied');
CREATE INDEX meter_credits_of_service_point ON meter_credits (service_point, receipt);
-- Until the fate of one is known, no other may be sent.
CREATE UNIQUE INDEX meter_credits_one_at_a_time ON meter_credits (service_point) WHERE state IN ('sent', 'uncertain', 'held');

-- Where comparing a meter's own balance with this ledger begins.
CREATE TABLE meter_marks (
    service_point TEXT PRIMARY KEY REFERENCES wallets (service_point),
    record        TEXT NOT NULL
) STRICT;

CREATE TRIGGER meter_credits_content BEFORE UPDATE OF receipt, service_point, amount ON meter_credits
BEGIN SELECT RAISE(ABORT, 'a credit keeps its content'); END;
CREATE TRIGGER meter_credits_count BEFORE UPDATE ON meter_credits WHEN OLD.count IS NOT NULL AND NEW.count IS NOT OLD.count
BEGIN SELECT RAISE(ABORT, 'a purchase count is assigned once'); END;
-- One that was confirmed before there were meter wallets gets its transfer, and nothing else.
CREATE TRIGGER meter_credits_settled BEFORE UPDATE ON meter_credits
WHEN OLD.state = 'not_applied' OR OLD.transfer IS NOT NULL OR (OLD.state = 'confirmed' AND NEW.state <> 'confirmed')
BEGIN SELECT RAISE(ABORT, 'a settled credit is final'); END;
CREATE TRIGGER meter_credits_no_delete BEFORE DELETE ON meter_credits
BEGIN SELECT RAISE(ABORT, 'a credit is never deleted'); END;
