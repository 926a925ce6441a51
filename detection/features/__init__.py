"""From state to named feature vectors; one catalogue."""
