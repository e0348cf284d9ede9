"""The token service: authenticates callers, decides what they may read, signs tokens, keeps the audit trail.

Layers, each may use those above it:

names, errors, tokens (lading)   formats that the whole project shares
sealing, apikeys, models         secrets at rest, tables
authorize                        the decision: pure, no clock, no database, no network
database, catalog, audit         the edges: tables, the object store, issuance events
service                          read, decide, write
app, cli, __main__               HTTP, `lading admin`, `python -m issuer`
"""
