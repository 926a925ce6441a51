"""Where gateways that can only write what they have send it: by HTTP, on the gateway's side of the privacy boundary."""
