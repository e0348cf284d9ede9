INSERT INTO issue_events BY NAME
SELECT id, ts, v, jti, sub, prj, kid, dataset, "version", keys, ttl_s, granted, code, reason, ip,
       user_agent
FROM parsed
WHERE "type" = 'issue' AND rowid IN (SELECT n FROM new_events);
