-- What the loading of the period's log objects met.
SELECT
    count(*) AS objects,
    coalesce(sum(events), 0)::BIGINT AS events,
    coalesce(sum(duplicates), 0)::BIGINT AS duplicates,
    coalesce(sum(bad_lines), 0)::BIGINT AS bad_lines
FROM loaded_objects
WHERE log_day >= $start::TIMESTAMPTZ::DATE AND log_day < $end::TIMESTAMPTZ::DATE;
