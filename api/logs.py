"""Logs for people or for machines; no message content and no token is ever logged."""

import logging
import sys

import structlog

from lab.schemas.logging_config import Format, LoggingConfig


def configure_logs(config: LoggingConfig, *, quiet: bool = False) -> None:
    """Write structured logs at the configured level to standard error; `quiet`: only warnings."""
    level = logging.getLevelNamesMapping()[config.level.value.upper()]
    level = max(level, logging.WARNING) if quiet else level
    last = (
        structlog.processors.JSONRenderer()
        if config.format is Format.json
        else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
