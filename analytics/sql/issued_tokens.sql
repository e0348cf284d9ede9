-- Answers of the issuer in a period, granted or not, by code.
SELECT coalesce(granted, false) AS granted, coalesce(code, 'unknown') AS code, count(*) AS requests,
       count(DISTINCT sub) AS users
FROM issue_events
WHERE ts >= $start::TIMESTAMPTZ AND ts < $end::TIMESTAMPTZ
GROUP BY ALL
ORDER BY granted DESC, requests DESC, code;
