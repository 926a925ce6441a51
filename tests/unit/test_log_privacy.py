"""A traceback tells where, and never what the variables held."""

from __future__ import annotations

import logging

import pytest

from services.telemetry.logs import configure_logs, get_logger


def fail(secret: str) -> None:
    held = secret.upper()
    raise ValueError(len(held))


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_holds_no_local_variable(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("test", log_format=log_format)
    # Made here, for a literal would stand in the traceback as a line of source.
    secret = " ".join(chr(ord(letter) + 1) for letter in "OQNLOS")
    try:
        fail(secret)
    except ValueError:
        get_logger().exception("job.crashed")
        logging.getLogger("faust").exception("crashed")
    printed = capsys.readouterr().err
    assert printed.count("ValueError") >= 2
    assert "fail" in printed
    assert secret.lower() not in printed.lower()
