-- Every request with its dataset, version, user, project and outcome; no field of the first five is NULL.
-- A request for a shard has no version in its key, because releases share shards: it counts for the version whose
-- token it came with, found by jti among the issuer's events.
--
-- A smoke test asks for what it must not get (tasks/smoke.py). It signs its user agent with the jti of the token that it
-- was issued, so such a refusal is known by that, and counts for that token's user. Nobody hides behind this: it takes
-- a token of the same dataset, and no more than the five refusals of a smoke test count.
CREATE OR REPLACE TEMP VIEW request_facts AS
WITH issued AS (
    SELECT jti, min(dataset) AS dataset, min(version) AS version, min(sub) AS sub
    FROM issue_events
    WHERE granted AND jti IS NOT NULL
    GROUP BY jti
),
smoke AS (
    SELECT e.id, i.sub, i.version
    FROM events e
    JOIN issued i ON i.jti = regexp_extract(e.user_agent, ' smoke/([\w-]+)$', 1) AND i.dataset = e.dataset
    WHERE e.status BETWEEN 400 AND 499
    QUALIFY row_number() OVER (PARTITION BY i.jti ORDER BY e.ts, e.id) <= 5
)
SELECT
    e.ts,
    coalesce(e.dataset, i.dataset, 'unknown') AS dataset,
    coalesce(
        e.key_version,
        CASE WHEN e.dataset IS NULL OR e.dataset = i.dataset THEN i.version END,
        s.version,
        'unknown'
    ) AS version,
    coalesce(e.sub, s.sub, 'unknown') AS "user",
    coalesce(e.prj, 'unknown') AS project,
    CASE WHEN e.status < 400 THEN 'served' WHEN e.status < 500 THEN 'refused' ELSE 'failed' END AS outcome,
    e.status,
    CASE WHEN s.id IS NOT NULL THEN 'smoke_test' ELSE coalesce(e.code, 'http_' || e.status) END AS code,
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
LEFT JOIN issued i ON i.jti = e.jti
LEFT JOIN smoke s ON s.id = e.id;
