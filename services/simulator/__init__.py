"""Sample traffic with a truth file: honest people and programs, and campaigns that harvest a model's answers."""
