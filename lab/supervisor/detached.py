"""
Run the supervisor in the background: `python -m lab.supervisor.detached`.

It tells the process that started it how far it is, one line of JSON after the other on standard
output, and closes that when the lab is ready.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from lab.config import Settings, load_settings
from lab.errors import LabError, ServiceError
from lab.logs import log_to_stderr
from lab.supervisor.logs import last_lines, log_file, turn_over
from lab.supervisor.stack import Welcome, run_stack

NAME = "supervisor"
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start_detached(settings: Settings, progress: Callable[[str], None]) -> Welcome:
    """
    Start the lab in the background and return when it is ready.

    Parameters
    ----------
    settings : Settings
        The settings of the lab.
    progress : callable
        Called with each line about how far the start is.

    Raises
    ------
    ServiceError
        If it does not become ready; the message is the supervisor's own.
    """
    log = log_file(settings.data_folder, NAME)
    turn_over(log)
    with log.open("ab") as stream:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", __spec__.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stream,
            start_new_session=True,
            text=True,
        )
    assert supervisor.stdout is not None  # a pipe, see above
    with supervisor.stdout as lines:
        for line in lines:
            said = json.loads(line)
            if "welcome" in said:
                return Welcome(**said["welcome"])
            if "error" in said:
                raise ServiceError(said["error"])
            progress(said["progress"])
    raise ServiceError(_died(supervisor.wait(), log))


def main() -> int:
    """Run the lab; return the exit status."""
    logging.basicConfig(format=FORMAT, level=logging.INFO)
    log_to_stderr()  # standard output is read by the process that started us
    progress = _ProgressHandler(logging.INFO)
    logging.getLogger("lab.supervisor").addHandler(progress)

    def welcome(message: Welcome) -> None:
        _say({"welcome": asdict(message)})
        logging.getLogger("lab.supervisor").removeHandler(progress)
        # Whoever reads is gone from now on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    try:
        asyncio.run(run_stack(load_settings(), welcome))
    except LabError as error:
        logging.getLogger(__name__).error("%s", error)
        _say({"error": str(error)})
        return 1
    return 0


class _ProgressHandler(logging.Handler):
    """Passes what is logged on to the process that started us."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one line."""
        _say({"progress": record.getMessage()})


def _say(message: Mapping[str, object]) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The terminal was closed; the lab starts all the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _died(code: int, log: Path) -> str:
    said = " ".join(last_lines(log, 3))
    return f"The supervisor ended with code {code}: {said or 'it said nothing'}. Its log is {log}."


if __name__ == "__main__":
    sys.exit(main())
