"""``python -m tests.crash.faulty_worker JOB FAULT|chunk:N``: a job's own worker, and something around it."""

from __future__ import annotations

import runpy
import sys

from stream_jobs.engine import process
from tests.crash.faults import Fault, with_fault, with_random_chunks


def main() -> None:
    how, _, longest = sys.argv[2].partition(":")
    made = with_random_chunks(int(longest)) if how == "chunk" else with_fault(Fault.parse(sys.argv[2]))
    process.Worker = made  # type: ignore[misc]  # the process makes its worker from it
    runpy.run_module(f"stream_jobs.{sys.argv[1]}", run_name="__main__")


if __name__ == "__main__":
    main()
