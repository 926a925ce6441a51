"""Keeps the parts of one machine alive: ordered start, restart with backoff, ordered drain."""
