"""The gateway's keys: how they are kept, how they are changed, and how what they named stays one thing meanwhile."""
