-- The requests of one period, from $start to before $end (UTC), so that every query below reads the same rows.
CREATE OR REPLACE TEMP TABLE period_requests AS
SELECT * FROM request_facts WHERE ts >= $start::TIMESTAMPTZ AND ts < $end::TIMESTAMPTZ;
