"""Text to sketches, at the gateway: what is left of a conversation when its words stay where they were said."""
