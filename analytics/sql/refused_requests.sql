-- Requests that were refused or failed, by code and status.
SELECT
    code,
    status,
    count(*) AS requests,
    count(DISTINCT "user") FILTER ("user" <> 'unknown') AS users,
    count(DISTINCT dataset) FILTER (dataset <> 'unknown') AS datasets
FROM period_requests
WHERE outcome <> 'served'
GROUP BY code, status
ORDER BY requests DESC, code, status;
