INSERT INTO loaded_objects BY NAME
WITH counts AS (
    SELECT
        p.filename,
        count(*) FILTER (fault IS NULL AND w.n IS NOT NULL) AS events,
        count(*) FILTER (fault IS NULL AND w.n IS NULL) AS duplicates,
        count(*) FILTER (fault IS NOT NULL) AS bad_lines
    FROM parsed p
    LEFT JOIN new_events w ON w.n = p.rowid
    GROUP BY p.filename
)
SELECT
    $source AS source,
    s.key,
    s.etag,
    s.size_bytes,
    coalesce(
        try_cast(regexp_extract(s.key, '(?:^|/)dt=([0-9]{4}-[0-9]{2}-[0-9]{2})/', 1) AS DATE),
        $loaded_at::TIMESTAMPTZ::DATE
    ) AS log_day,
    coalesce(c.events, 0) AS events,
    coalesce(c.duplicates, 0) AS duplicates,
    coalesce(c.bad_lines, 0) + s.bad_lines AS bad_lines,
    $loaded_at::TIMESTAMPTZ AS loaded_at
FROM staged s
LEFT JOIN counts c ON c.filename = s.filename
ON CONFLICT DO UPDATE SET
    etag = excluded.etag,
    size_bytes = excluded.size_bytes,
    events = loaded_objects.events + excluded.events,
    duplicates = loaded_objects.duplicates + excluded.duplicates,
    bad_lines = excluded.bad_lines,
    loaded_at = excluded.loaded_at;
