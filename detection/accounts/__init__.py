"""The accounts step: one partition of requests, its account rows, the account lane."""
