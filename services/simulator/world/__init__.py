"""A world to judge the detector in: honest archetypes, crowds that look like campaigns, and recipes of harvests."""
