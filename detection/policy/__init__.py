"""Thresholds, budgets, entitlements, severity."""
