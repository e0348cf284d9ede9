"""Schema migrations (Alembic), run by issuer.database.Database.migrate."""

HEAD = "0002"
"""Newest revision. It stands here so that starting up needs no Alembic; a test holds it to the scripts."""
