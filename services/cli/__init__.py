"""The `stillwatch` command; each module registers the sub-commands of one subject."""
