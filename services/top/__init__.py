"""What the processes and the brokers say at a moment, and what two such moments tell together. Changes nothing."""
