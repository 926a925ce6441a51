"""The HTTP API and its plain pages: a guard before every route, alerts to read and act on, users, keys, the audit."""
