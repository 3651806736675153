"""One process under supervision: started, found ready, started again when it ends, stopped."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lab.backoff import Backoff
from lab.errors import LabError, ServiceError
from lab.supervisor.logs import last_lines, log_file, turn_over
from lab.supervisor.probes import Probe

POLL_S = 0.2
STOP_TIMEOUT_S = 30.0

logger = logging.getLogger(__name__)


class State(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    """It ended and will be started again."""
    STOPPED = "stopped"


async def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class ProcessSpec:
    """What to run, and how to see that it works."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready: Probe
    port: int
    ready_timeout_s: float = 180.0
    stop_signal: signal.Signals = signal.SIGTERM
    prepare: Callable[[], Awaitable[None]] = nothing
    """Called before each start."""
    greet: Callable[[], Awaitable[None]] = nothing
    """Called once it answers, and again while it raises `ServiceError`; then it is ready."""


class SupervisedProcess:
    """
    A process that lives until it is told to stop.

    Parameters
    ----------
    spec : ProcessSpec
        What to run.
    data_folder : Path
        Where its log goes.
    changed : callable
        Called after each change of state.
    """

    def __init__(self, spec: ProcessSpec, data_folder: Path, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.log = log_file(data_folder, spec.name)
        self.state = State.STOPPED
        self.started_at = 0.0
        self.restarts = 0
        self._folder = data_folder
        self._changed = changed
        self._backoff = Backoff()
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self) -> None:
        """
        Start the process, wait until it is ready, and watch it from then on.

        Raises
        ------
        ServiceError
            If it ends or does not become ready in time.
        """
        turn_over(self.log)
        await self._launch()
        await self._until_ready()
        self._watcher = asyncio.create_task(self._keep_alive(), name=f"watch {self.spec.name}")

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask the process to end, and kill it with its group when it does not in time."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        process = self._process
        if process and process.returncode is None:
            process.send_signal(self.spec.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), timeout_s)
            except TimeoutError:
                logger.warning("%s did not end in %g s and is killed.", self.spec.name, timeout_s)
        await self._end_group()
        self._enter(State.STOPPED)

    def kill(self) -> None:
        """Kill the process with its group at once."""
        if self._process:
            _kill_group(self._process.pid)

    async def _keep_alive(self) -> None:
        while True:
            ended = await self._ended()
            delay = self._backoff.next_delay_s(time.time() - self.started_at)
            logger.warning("%s %s; it starts again in %g s.", self.spec.name, ended, delay)
            self._enter(State.WAITING)
            await asyncio.sleep(delay)
            self.restarts += 1
            try:
                await self._launch()
                await self._until_ready()
            except LabError as error:
                logger.warning("%s", error)
                await self._end_group()
            else:
                logger.info("%s is ready again.", self.spec.name)

    async def _launch(self) -> None:
        await self.spec.prepare()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                env=dict(self.spec.environment),
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C reaches the supervisor alone, which stops in order.
                start_new_session=True,
            )
        self.started_at = time.time()
        self._enter(State.STARTING)

    async def _until_ready(self) -> None:
        """Wait for probe and greeting; a process that ends or takes too long is cleared away."""
        deadline = time.monotonic() + self.spec.ready_timeout_s
        while trouble := await self._trouble():
            if self.pid is None:
                raise ServiceError(f"{self.spec.name} {await self._ended()} {self._last_words()}")
            if time.monotonic() > deadline:
                await self._end_group()
                raise ServiceError(
                    f"{self.spec.name} was not ready in {self.spec.ready_timeout_s:g} s: "
                    f"{trouble} {self._last_words()}"
                )
            await asyncio.sleep(POLL_S)
        self._enter(State.READY)

    async def _trouble(self) -> str:
        """Return why the process is not ready, or nothing when it is."""
        if not await self.spec.ready():
            return "It does not answer."
        try:
            await self.spec.greet()
        except ServiceError as error:
            return str(error)
        return ""

    async def _ended(self) -> str:
        """Wait for the end of the process and clear away what it started in its group."""
        if self._process is None:
            return "was never started"
        code = await self._process.wait()
        await self._end_group()
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    async def _end_group(self) -> None:
        if self._process:
            _kill_group(self._process.pid)
            await self._process.wait()

    def _last_words(self) -> str:
        said = " ".join(last_lines(self.log, 3)).strip() or "nothing"
        return f"It said: {said[-500:]}. Its log is {self.log}."

    def _enter(self, state: State) -> None:
        self.state = state
        self._changed()


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
