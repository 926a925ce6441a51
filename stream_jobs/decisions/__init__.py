"""The decisions job: verdicts to what gateways should do, a dry run unless the configuration says otherwise."""
