"""
A server process that is kept running: found ready, watched, started again when it ends or hangs.

One thread owns the process. It runs under `guard.py`, so that it ends with the lab however that
ends.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import httpx
import structlog

from lab.backoff import Backoff
from lab.errors import ModelLoadError

POLL_S: Final = 0.2
LOOK_S: Final = 10.0
"""Seconds between two looks at the health of a server that is ready."""

MOST_MISSED: Final = 3
"""Looks in a row that may fail before it is started anew."""

LAST_LINES: Final = 30
GUARD: Final = Path(__file__).with_name("guard.py")

log = structlog.get_logger(__name__)


class State(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    """It ended and will be started again."""
    CLOSED = "closed"


@dataclass(frozen=True)
class ChildSpec:
    """
    What to run, and how to see that it works.

    Attributes
    ----------
    name : str
        For people.
    command : sequence of str
        The program and its arguments.
    environment : mapping
        All of its variables.
    health_url : str
        Answers with a status below 300 while it works.
    start_timeout_s, stop_timeout_s : float
        Seconds in which it has to answer and to end.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    health_url: str
    start_timeout_s: float
    stop_timeout_s: float
    look_s: float = LOOK_S


class Child:
    """
    A server process; all methods block.

    Parameters
    ----------
    spec : ChildSpec
        What to run.
    lab_closes : threading.Event, optional
        When it is set, nothing is started or waited for any more.
    """

    def __init__(self, spec: ChildSpec, lab_closes: threading.Event | None = None) -> None:
        self.spec = spec
        self._lab_closes = lab_closes or threading.Event()
        self.state = State.STARTING
        self.restarts = 0
        self.ended = ""
        """How it ended last."""

        self._said: deque[str] = deque(maxlen=LAST_LINES)
        self._backoff = Backoff()
        self._closing = threading.Event()
        self._settled = threading.Event()
        self._failure: ModelLoadError | None = None
        self._keeper = threading.Thread(target=self._keep, name=f"keep {spec.name}", daemon=True)

    def start(self) -> None:
        """
        Start the process and wait until it is ready; from then on it is kept.

        Raises
        ------
        ModelLoadError
            If it ends or does not become ready in time.
        """
        self._keeper.start()
        self._settled.wait()
        if self._failure:
            self._keeper.join()
            raise self._failure

    def close(self) -> None:
        """End the process with all that it started."""
        self._closing.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        self.state = State.CLOSED

    def _keep(self) -> None:
        """Run the process again and again until it is closed, or fails to start at first."""
        try:
            while not self._closes():
                began = time.monotonic()
                self._run_once()
                if self._failure or self._closes():
                    return
                delay = self._backoff.next_delay_s(time.monotonic() - began)
                self.state = State.WAITING
                log.warning(
                    "a server is started again",
                    server=self.spec.name,
                    ended=self.ended,
                    in_s=delay,
                    said=self._last_words(),
                )
                self._pause(delay)
                self.restarts += 1
        finally:
            self._settled.set()

    def _run_once(self) -> None:
        """Run the process until it ends, hangs, or is closed, or could not be begun."""
        self.state = State.STARTING
        self._said.clear()
        try:
            process = self._spawned()
        except (OSError, ValueError) as error:  # no memory for it, or arguments that are none
            self.ended = f"could not be begun: {error}"
        else:
            reader = threading.Thread(target=self._read, args=(process,), daemon=True)
            reader.start()
            try:
                self.ended = self._watched(process)
            finally:
                self._end(process)
                reader.join()
        if not self._settled.is_set():
            self._failure = ModelLoadError(
                f"`{self.spec.name}` could not be started: its server {self.ended}. It said: "
                f"{self._last_words()}"
            )

    def _spawned(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-I", str(GUARD), str(self.spec.stop_timeout_s)]
        return subprocess.Popen(
            [*command, *self.spec.command],
            env=dict(self.spec.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a group of its own, which Ctrl-C does not reach
        )

    def _watched(self, process: "subprocess.Popen[str]") -> str:
        """Wait until the process is ready, and then until it is not; return why it has to end."""
        deadline = time.monotonic() + self.spec.start_timeout_s
        next_look, missed = 0.0, 0
        while not self._pause(POLL_S):
            if (code := process.poll()) is not None:
                return f"ended with code {code}"
            if self.state is not State.READY:
                if self._answers():
                    self.state = State.READY
                    self._settled.set()
                    next_look = time.monotonic() + self.spec.look_s
                elif time.monotonic() > deadline:
                    return f"was not ready in {self.spec.start_timeout_s:g} s"
            elif time.monotonic() > next_look:
                next_look = time.monotonic() + self.spec.look_s
                missed = 0 if self._answers() else missed + 1
                if missed >= MOST_MISSED:
                    return f"did not answer {missed} times"
        return "was closed with the lab"

    def _pause(self, seconds: float) -> bool:
        """Wait; return at once, and True, where all comes to its end."""
        deadline = time.monotonic() + seconds
        while not self._closes() and (left := deadline - time.monotonic()) > 0:
            self._closing.wait(min(left, POLL_S))
        return self._closes()

    def _closes(self) -> bool:
        return self._closing.is_set() or self._lab_closes.is_set()

    def _answers(self) -> bool:
        try:
            response = httpx.get(self.spec.health_url, timeout=self.spec.look_s, trust_env=False)
        except httpx.TransportError:
            return False
        return response.status_code < 300

    def _read(self, process: "subprocess.Popen[str]") -> None:
        """Keep the last lines that the process says; it would wait for a full pipe for ever."""
        if process.stdout is None:
            raise TypeError("The process's standard output must be a pipe.")
        with process.stdout as said:
            for line in said:
                self._said.append(line.rstrip())
                log.debug("said", server=self.spec.name, line=line.rstrip())

    def _end(self, process: "subprocess.Popen[str]") -> None:
        """Have the guard end the process, and kill what is left of its group."""
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(self.spec.stop_timeout_s + 5)
        except subprocess.TimeoutExpired:
            log.warning("a server did not end and is killed", server=self.spec.name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _last_words(self) -> str:
        return " ".join(" ".join(list(self._said)[-5:]).split())[-500:] or "nothing"
