-- Credits of meters with a wallet whose fate is known; amounts in fen. Only those that are in the meter have moved money.
CREATE TABLE meter_credits (
    site          TEXT NOT NULL,
    epoch         TEXT NOT NULL,
    receipt       BIGINT NOT NULL,
    service_point TEXT NOT NULL,
    amount        BIGINT NOT NULL,
    count         BIGINT,
    state         TEXT NOT NULL,
    detail        TEXT NOT NULL,
    decided_by    TEXT,
    at            BIGINT NOT NULL,
    transfer      TEXT,
    seq           BIGINT NOT NULL,
    PRIMARY KEY (site, epoch, receipt)
);

CREATE TRIGGER meter_credits_append_only BEFORE UPDATE OR DELETE ON meter_credits FOR EACH ROW EXECUTE FUNCTION refuse_change();
