-- What devices were told is stored: the last message of each topic, so that its sender may forget it.
CREATE TABLE kept_messages (
    broker    TEXT NOT NULL,
    topic     TEXT NOT NULL,
    payload   BLOB NOT NULL,
    packet_id INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (broker, topic)
) STRICT, WITHOUT ROWID;

-- How far each broker has taken over the timeline.
CREATE TABLE told (
    broker TEXT PRIMARY KEY,
    seq    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
