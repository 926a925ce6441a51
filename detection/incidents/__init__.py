"""The incidents step: findings become alerts that grow."""
