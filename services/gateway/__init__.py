"""The gateway's side of the boundary: vendor records in, events without text or raw identifiers out."""
