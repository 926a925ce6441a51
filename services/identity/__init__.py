"""Who somebody is and what they may do: users, sessions, keys for machines, roles, and rules for routes."""
