-- Traffic grouped by one dimension, $by: 'all', 'day', 'hour', 'dataset', 'version', 'user', 'project', 'cache',
-- 'client', 'day_dataset' or 'dataset_version_user'. The group is the list `parts`; busiest first.
SELECT
    CASE $by
        WHEN 'all' THEN []
        WHEN 'day' THEN [strftime(ts, '%Y-%m-%d')]
        WHEN 'hour' THEN [strftime(ts, '%Y-%m-%dT%H')]
        WHEN 'dataset' THEN [dataset]
        WHEN 'version' THEN [dataset, version]
        WHEN 'user' THEN ["user"]
        WHEN 'project' THEN [project]
        WHEN 'cache' THEN ["cache"]
        -- The first product of a User-Agent (RFC 9110, 10.1.5) names the software.
        WHEN 'client' THEN [coalesce(nullif(regexp_extract(user_agent, '^\S+'), ''), 'unknown')]
        WHEN 'day_dataset' THEN [strftime(ts, '%Y-%m-%d'), dataset]
        WHEN 'dataset_version_user' THEN [dataset, version, "user"]
    END AS parts,
    count(*) AS requests,
    sum(bytes_sent)::HUGEINT AS bytes_sent,
    count(*) FILTER (outcome = 'refused') AS refused,
    count(*) FILTER (outcome = 'failed') AS failed,
    count(*) FILTER (has_body) AS bodies,
    count(*) FILTER (has_body AND completed) AS completed,
    count(*) FILTER (has_body AND "cache" = 'hit') AS cache_hits,
    sum(origin_requests)::HUGEINT AS origin_requests,
    sum(origin_bytes)::HUGEINT AS origin_bytes
FROM period_requests
GROUP BY parts
ORDER BY bytes_sent DESC, requests DESC, parts;
