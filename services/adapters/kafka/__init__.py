"""Kafka as this project uses it: confluent-kafka with one set of defaults."""
