"""The HTTP API: a guard before every route, alerts to read and to act on, users, keys, the audit."""
