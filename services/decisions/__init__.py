"""The issuer of decisions: alerts and verdicts to proposals, approved proposals to signed records."""
