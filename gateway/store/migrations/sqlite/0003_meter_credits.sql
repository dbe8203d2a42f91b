-- Top-ups on their way into wallets that meters keep themselves. One receipt, one credit; its purchase count is assigned
-- once. A count may come again at a service point: a new meter begins anew.
CREATE TABLE meter_credits (
    receipt       INTEGER PRIMARY KEY REFERENCES receipts (number),
    service_point TEXT NOT NULL,
    amount        INTEGER NOT NULL CHECK (amount > 0),
    count         INTEGER CHECK (count > 0),
    state         TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'uncertain', 'held', 'confirmed', 'manual')),
    attempts      INTEGER NOT NULL,
    detail        TEXT NOT NULL,
    at            INTEGER NOT NULL,
    CHECK (count IS NOT NULL OR state IN ('pending', 'manual'))
) STRICT;
CREATE INDEX meter_credits_open ON meter_credits (service_point, receipt) WHERE state <> 'confirmed';
-- Until the fate of one is known, no other may be sent.
CREATE UNIQUE INDEX meter_credits_one_at_a_time ON meter_credits (service_point) WHERE state IN ('sent', 'uncertain', 'held');

CREATE TRIGGER meter_credits_content BEFORE UPDATE OF receipt, service_point, amount ON meter_credits
BEGIN SELECT RAISE(ABORT, 'a credit keeps its content'); END;
CREATE TRIGGER meter_credits_count BEFORE UPDATE ON meter_credits WHEN OLD.count IS NOT NULL AND NEW.count IS NOT OLD.count
BEGIN SELECT RAISE(ABORT, 'a purchase count is assigned once'); END;
CREATE TRIGGER meter_credits_confirmed BEFORE UPDATE ON meter_credits WHEN OLD.state = 'confirmed'
BEGIN SELECT RAISE(ABORT, 'a confirmed credit is final'); END;
CREATE TRIGGER meter_credits_no_delete BEFORE DELETE ON meter_credits
BEGIN SELECT RAISE(ABORT, 'a credit is never deleted'); END;
