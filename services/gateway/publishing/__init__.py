"""From a request in memory to an event on Kafka, in a thread that the response never waits for."""
