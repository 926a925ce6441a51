"""Columnar state per entity: record layouts with a version, slots, panes."""
