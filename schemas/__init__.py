"""Wire and checkpoint contracts, versioned: what stands on a topic is what these modules say, and nothing else."""
