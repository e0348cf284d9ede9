-- Log objects whose events are in the tables below. An object that changed (another ETag) is loaded again;
-- its known events are dropped by id, and its bad lines replace the earlier ones.
CREATE TABLE loaded_objects (
    source     VARCHAR NOT NULL,      -- s3://bucket or file:///folder
    key        VARCHAR NOT NULL,
    etag       VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,       -- as stored, compressed
    log_day    DATE NOT NULL,         -- dt= of the key, else the UTC day of loading
    events     BIGINT NOT NULL,       -- new events of both types
    duplicates BIGINT NOT NULL,       -- events that were there already, or twice in the same load
    bad_lines  BIGINT NOT NULL,
    loaded_at  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (source, key)
);

-- One row per request to the gateway (docs: request event). No primary key on id: the load removes duplicates,
-- and an index over all ids would have to fit in memory.
CREATE TABLE events (
    id              VARCHAR NOT NULL,
    ts              TIMESTAMPTZ NOT NULL,
    v               INTEGER,
    method          VARCHAR,
    dataset         VARCHAR,
    key             VARCHAR,
    key_version     VARCHAR,          -- of {dataset}/releases/{version}/...; NULL for shards, which releases share
    status          INTEGER NOT NULL,
    code            VARCHAR,
    range_start     BIGINT,
    range_end       BIGINT,
    object_size     BIGINT,
    bytes_expected  BIGINT,
    bytes_sent      BIGINT,
    completed       BOOLEAN,
    cache           VARCHAR,
    origin_requests BIGINT,
    origin_bytes    BIGINT,
    origin_status   INTEGER,
    ttfb_ms         DOUBLE,
    duration_ms     DOUBLE,
    jti             VARCHAR,
    sub             VARCHAR,
    prj             VARCHAR,
    kid             VARCHAR,
    ip              VARCHAR,
    country         VARCHAR,
    colo            VARCHAR,
    asn             BIGINT,
    user_agent      VARCHAR
);

-- One row per request for a token, granted or refused.
CREATE TABLE issue_events (
    id         VARCHAR NOT NULL,
    ts         TIMESTAMPTZ NOT NULL,
    v          INTEGER,
    jti        VARCHAR,
    sub        VARCHAR,
    prj        VARCHAR,
    kid        VARCHAR,
    dataset    VARCHAR,
    version    VARCHAR,
    keys       JSON,
    ttl_s      BIGINT,
    granted    BOOLEAN,
    code       VARCHAR,
    reason     VARCHAR,
    ip         VARCHAR,
    user_agent VARCHAR
);

-- Lines that are no event, kept for a person to look at.
CREATE TABLE bad_lines (
    source    VARCHAR NOT NULL,
    key       VARCHAR NOT NULL,
    reason    VARCHAR NOT NULL,
    line      VARCHAR NOT NULL,       -- the first 2,000 characters
    loaded_at TIMESTAMPTZ NOT NULL
);
