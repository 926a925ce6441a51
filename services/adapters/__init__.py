"""Doors to the outside: Kafka, Postgres, the embedded services, the clock."""
