"""What is logged goes to standard error, beside the result on standard output."""

import sys

import structlog


def log_to_stderr() -> None:
    """Write log lines on standard error; `lab serve` and the like configure more on top."""
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
