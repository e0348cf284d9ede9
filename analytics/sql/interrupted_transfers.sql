-- Transfers that broke off before their last byte, by dataset, version and user; where most bytes were lost first.
SELECT
    dataset, version, "user",
    count(*) AS transfers,
    sum(greatest(bytes_expected - bytes_sent, 0))::HUGEINT AS missing_bytes,
    (100 * avg(bytes_sent / bytes_expected))::DOUBLE AS mean_percent
FROM period_requests
WHERE has_body AND NOT completed
GROUP BY dataset, version, "user"
ORDER BY missing_bytes DESC, transfers DESC, dataset, version, "user"
LIMIT $limit;
