-- Bad lines of the period's log objects, by reason, with one object to look at.
SELECT b.reason, count(*) AS lines, count(DISTINCT (b.source, b.key)) AS objects, min(b.key) AS example
FROM bad_lines b
JOIN loaded_objects o ON o.source = b.source AND o.key = b.key
WHERE o.log_day >= $start::TIMESTAMPTZ::DATE AND o.log_day < $end::TIMESTAMPTZ::DATE
GROUP BY b.reason
ORDER BY lines DESC, b.reason;
