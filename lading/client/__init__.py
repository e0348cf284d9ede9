"""The client: ask for access, read a release, pull it."""
