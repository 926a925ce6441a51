"""The HTTP API and the one page of HTML: alerts, campaigns, accounts, labels, entitlements.

It has no login yet and therefore listens on the loopback address only; who acts is told in ``actor``.
"""
