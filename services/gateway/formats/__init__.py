"""One module for each vendor format, each with ``parse(record) -> ParsedRequest``."""
