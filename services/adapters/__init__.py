"""What meets the outside: brokers, databases, clocks, embedded services."""
