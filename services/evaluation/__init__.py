"""Judging the detector: backtests, references from honest traffic, and alerts against the truth."""
