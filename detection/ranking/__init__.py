"""The order of the queue: how far out an alert's score lies, and how much it looks like what people confirmed."""
