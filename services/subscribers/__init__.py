"""Alerts to those who do not read our topic: the OCSF projection and signed webhooks."""
