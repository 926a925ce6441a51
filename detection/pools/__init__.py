"""The pools step: one partition of pools, their members, the pool lane."""
