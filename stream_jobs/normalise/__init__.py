"""The normalise job: vendor records to request events. Text enters here and goes no further."""
