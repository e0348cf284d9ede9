INSERT INTO bad_lines BY NAME
SELECT $source AS source, s.key, p.fault AS reason, p.line, $loaded_at::TIMESTAMPTZ AS loaded_at
FROM parsed p
JOIN staged s ON s.filename = p.filename
WHERE p.fault IS NOT NULL
ORDER BY p.rowid;
