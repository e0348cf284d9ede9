-- Every request with its dataset, version, user, project and outcome; no field of the first five is NULL.
-- A request for a shard has no version in its key, because releases share shards: it counts for the version whose
-- token it came with, found by jti among the issuer's events.
CREATE OR REPLACE TEMP VIEW request_facts AS
WITH issued AS (
    SELECT jti, min(dataset) AS dataset, min(version) AS version
    FROM issue_events
    WHERE granted AND jti IS NOT NULL
    GROUP BY jti
)
SELECT
    e.ts,
    coalesce(e.dataset, i.dataset, 'unknown') AS dataset,
    coalesce(
        e.key_version,
        CASE WHEN e.dataset IS NULL OR e.dataset = i.dataset THEN i.version END,
        'unknown'
    ) AS version,
    coalesce(e.sub, 'unknown') AS "user",
    coalesce(e.prj, 'unknown') AS project,
    CASE WHEN e.status < 400 THEN 'served' WHEN e.status < 500 THEN 'refused' ELSE 'failed' END AS outcome,
    e.status,
    coalesce(e.code, 'http_' || e.status) AS code,
    coalesce(e.bytes_sent, 0) AS bytes_sent,
    coalesce(e.bytes_expected, 0) AS bytes_expected,
    -- A body was promised to the client: only such a request can be complete or interrupted.
    e.status < 400 AND coalesce(e.method, 'GET') = 'GET' AND coalesce(e.bytes_expected, 0) > 0 AS has_body,
    coalesce(e.completed, e.bytes_sent >= e.bytes_expected, false) AS completed,
    coalesce(e.cache, 'none') AS cache,
    coalesce(e.origin_requests, 0) AS origin_requests,
    coalesce(e.origin_bytes, 0) AS origin_bytes,
    e.ttfb_ms,
    e.duration_ms,
    e.key,
    e.user_agent
FROM events e
LEFT JOIN issued i ON i.jti = e.jti;
