-- Row numbers (in `parsed`) of the events that are new: the first of each id in this batch, unless the id was loaded
-- before. Delivery is at least once, and a copy carries the same ts, so only events around the batch's own times are
-- looked at: DuckDB skips the rest of the table by its min-max statistics. The day of slack is for producers that stamp anew.
CREATE OR REPLACE TEMP TABLE new_events AS
WITH firsts AS (
    SELECT "type", id, min(rowid) AS n FROM parsed WHERE fault IS NULL GROUP BY "type", id
),
span AS (
    SELECT min(ts) - INTERVAL 1 DAY AS t0, max(ts) + INTERVAL 1 DAY AS t1 FROM parsed WHERE fault IS NULL
)
SELECT n FROM firsts
WHERE "type" = 'request'
  AND id NOT IN (SELECT id FROM events WHERE ts BETWEEN (SELECT t0 FROM span) AND (SELECT t1 FROM span))
UNION ALL
SELECT n FROM firsts
WHERE "type" = 'issue'
  AND id NOT IN (SELECT id FROM issue_events WHERE ts BETWEEN (SELECT t0 FROM span) AND (SELECT t1 FROM span));
