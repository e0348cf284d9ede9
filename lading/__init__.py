"""Lading: versioned dataset releases on object storage, delivered through an edge gateway."""

__version__ = "0.1.0"
