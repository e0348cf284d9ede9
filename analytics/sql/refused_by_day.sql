-- Requests that were refused or failed, by UTC day, code and status.
SELECT strftime(ts, '%Y-%m-%d') AS day, code, status, count(*) AS requests
FROM period_requests
WHERE outcome <> 'served'
GROUP BY day, code, status
ORDER BY day, code, status;
