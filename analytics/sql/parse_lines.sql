-- Staged lines -> table `parsed`, one row per line that is not blank: the typed fields of a good line, or `fault` and
-- the text of a bad one. Every field is read as text first and cast afterwards, so that one wrong value is seen as such
-- instead of turning into NULL. Missing fields are NULL and allowed, but for type, id, ts and a request's status.
-- Parameters: $files (paths of the staged files), $structure (JSON, every field VARCHAR).
CREATE OR REPLACE TEMP TABLE parsed AS
WITH lines AS (
    SELECT filename, line
    FROM read_csv(
        $files, columns = {'line': 'VARCHAR'}, auto_detect = false, header = false, filename = true,
        -- Staging leaves no byte 1 in the text, so a line is one column, whatever it holds.
        delim = chr(1), quote = '', escape = '', nullstr = chr(2), strict_mode = false, max_line_size = 4194304
    )
    WHERE trim(line) <> ''
),
texts AS (
    SELECT filename, line, json_transform(try_cast(line AS JSON), $structure) AS t FROM lines
),
typed AS (
    SELECT
        filename, line, t,
        t."type" AS "type",
        t.id AS id,
        try_cast(t.ts AS TIMESTAMPTZ) AS ts,
        try_cast(t.v AS INTEGER) AS v,
        try_cast(t.status AS INTEGER) AS status,
        try_cast(t.range_start AS BIGINT) AS range_start,
        try_cast(t.range_end AS BIGINT) AS range_end,
        try_cast(t.object_size AS BIGINT) AS object_size,
        try_cast(t.bytes_expected AS BIGINT) AS bytes_expected,
        try_cast(t.bytes_sent AS BIGINT) AS bytes_sent,
        try_cast(t.completed AS BOOLEAN) AS completed,
        try_cast(t.origin_requests AS BIGINT) AS origin_requests,
        try_cast(t.origin_bytes AS BIGINT) AS origin_bytes,
        try_cast(t.origin_status AS INTEGER) AS origin_status,
        try_cast(t.ttfb_ms AS DOUBLE) AS ttfb_ms,
        try_cast(t.duration_ms AS DOUBLE) AS duration_ms,
        try_cast(t.asn AS BIGINT) AS asn,
        try_cast(t.ttl_s AS BIGINT) AS ttl_s,
        try_cast(t.granted AS BOOLEAN) AS granted
    FROM texts
),
judged AS (
    SELECT
        *,
        CASE
            WHEN "type" IS NULL AND NOT json_valid(line) THEN 'not JSON'
            WHEN "type" IS NULL AND json_type(line) <> 'OBJECT' THEN 'not a JSON object'
            WHEN "type" IS NULL THEN 'no type'
            WHEN "type" NOT IN ('request', 'issue') THEN 'unknown type'
            WHEN coalesce(id, '') = '' THEN 'no id'
            -- The bounds also turn away 'infinity', which DuckDB takes as a time.
            WHEN ts IS NULL OR ts < TIMESTAMPTZ '2000-01-01' OR ts >= TIMESTAMPTZ '2200-01-01' THEN 'no valid ts'
            WHEN "type" = 'request' AND t.status IS NULL THEN 'no status'
            WHEN v IS NULL AND t.v IS NOT NULL THEN 'wrong value in v'
            WHEN status IS NULL AND t.status IS NOT NULL THEN 'wrong value in status'
            WHEN range_start IS NULL AND t.range_start IS NOT NULL THEN 'wrong value in range_start'
            WHEN range_end IS NULL AND t.range_end IS NOT NULL THEN 'wrong value in range_end'
            WHEN (object_size IS NULL AND t.object_size IS NOT NULL) OR object_size < 0
                THEN 'wrong value in object_size'
            WHEN (bytes_expected IS NULL AND t.bytes_expected IS NOT NULL) OR bytes_expected < 0
                THEN 'wrong value in bytes_expected'
            WHEN (bytes_sent IS NULL AND t.bytes_sent IS NOT NULL) OR bytes_sent < 0
                THEN 'wrong value in bytes_sent'
            WHEN completed IS NULL AND t.completed IS NOT NULL THEN 'wrong value in completed'
            WHEN (origin_requests IS NULL AND t.origin_requests IS NOT NULL) OR origin_requests < 0
                THEN 'wrong value in origin_requests'
            WHEN (origin_bytes IS NULL AND t.origin_bytes IS NOT NULL) OR origin_bytes < 0
                THEN 'wrong value in origin_bytes'
            WHEN origin_status IS NULL AND t.origin_status IS NOT NULL THEN 'wrong value in origin_status'
            WHEN ttfb_ms IS NULL AND t.ttfb_ms IS NOT NULL THEN 'wrong value in ttfb_ms'
            WHEN duration_ms IS NULL AND t.duration_ms IS NOT NULL THEN 'wrong value in duration_ms'
            WHEN asn IS NULL AND t.asn IS NOT NULL THEN 'wrong value in asn'
            WHEN ttl_s IS NULL AND t.ttl_s IS NOT NULL THEN 'wrong value in ttl_s'
            WHEN granted IS NULL AND t.granted IS NOT NULL THEN 'wrong value in granted'
        END AS fault
    FROM typed
)
SELECT
    filename, fault,
    if(fault IS NULL, NULL, left(line, 2000)) AS line,
    "type", id, ts, v, status, range_start, range_end, object_size, bytes_expected, bytes_sent, completed,
    origin_requests, origin_bytes, origin_status, ttfb_ms, duration_ms, asn, ttl_s, granted,
    t.method AS method, t.dataset AS dataset, t.key AS key, t.code AS code, t."cache" AS "cache", t.jti AS jti,
    t.sub AS sub, t.prj AS prj, t.kid AS kid, t.ip AS ip, t.country AS country, t.colo AS colo,
    t.user_agent AS user_agent, t."version" AS "version", t.reason AS reason,
    try_cast(t.keys AS JSON) AS keys
FROM judged;
