INSERT INTO events BY NAME
SELECT
    id, ts, v, method, dataset, key, status, code, range_start, range_end, object_size, bytes_expected, bytes_sent,
    completed, "cache", origin_requests, origin_bytes, origin_status, ttfb_ms, duration_ms, jti, sub, prj, kid, ip,
    country, colo, asn, user_agent,
    nullif(regexp_extract(key, '^[a-z0-9][a-z0-9._-]{0,62}/releases/([A-Za-z0-9][A-Za-z0-9._-]{0,63})/', 1), '')
        AS key_version
FROM parsed
WHERE "type" = 'request' AND rowid IN (SELECT n FROM new_events);
