"""The local stack: gateway, object store and issuer on this machine, from the same code as in production."""
