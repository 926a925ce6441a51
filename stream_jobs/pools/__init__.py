"""The pools job: contributions in, findings out."""
