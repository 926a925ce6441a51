"""Mergeable bounded summaries."""
