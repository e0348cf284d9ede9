-- Milliseconds to the first byte of answers with a body: median and 95th percentile.
SELECT quantile_cont(ttfb_ms, 0.5) AS median_ms, quantile_cont(ttfb_ms, 0.95) AS p95_ms
FROM period_requests
WHERE has_body AND ttfb_ms IS NOT NULL;
