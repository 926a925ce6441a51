"""``python -m tests.crash.faulty_worker JOB FAULT``: the product's worker of a job, as its own module starts it."""

from __future__ import annotations

import runpy
import sys

from stream_jobs.engine import process
from tests.crash.faults import Fault, with_fault


def main() -> None:
    process.Worker = with_fault(Fault.parse(sys.argv[2]))  # type: ignore[misc]  # the process makes its worker from it
    runpy.run_module(f"stream_jobs.{sys.argv[1]}", run_name="__main__")


if __name__ == "__main__":
    main()
