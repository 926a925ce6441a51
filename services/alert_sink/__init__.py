"""Between the database and Kafka: alerts in (the sink), labels and entitlements out (the relay)."""
