"""The whole lab: every process started in order, kept alive, and stopped in the reverse order."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

import psutil

from lab.config import Settings
from lab.db import Database, embedded_server
from lab.supervisor.accounts import notebook_account
from lab.supervisor.addresses import addresses, check_ports
from lab.supervisor.databases import prepare_databases
from lab.supervisor.orphans import clear_marked
from lab.supervisor.process import ProcessSpec, State, SupervisedProcess
from lab.supervisor.processes import database_spec, stages
from lab.supervisor.record import (
    ProcessRecord,
    StackRecord,
    forget_record,
    only_one,
    write_record,
)

logger = logging.getLogger(__name__)
# Each look at whether a process is ready would be a line.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Welcome:
    """What the person who started the lab needs to know."""

    url: str
    admin: str
    password: str | None
    """The administrator's, when it was made just now."""


async def run_stack(settings: Settings, welcome: Callable[[Welcome], None]) -> None:
    """
    Run the lab until this process is told to end (SIGINT or SIGTERM).

    Parameters
    ----------
    settings : Settings
        The settings of the lab.
    welcome : callable
        Called once, when everything is ready.

    Raises
    ------
    LabError
        If the lab cannot be started; everything that had started is stopped by then.
    """
    with only_one(settings.data_folder):
        cleared = await asyncio.to_thread(clear_marked, settings.data_folder)
        if cleared:
            logger.info("Ended %d processes that an earlier run left behind.", cleared)
        async with _owned_database(settings):
            check_ports(settings)
            stack = Stack(settings)
            try:
                await _until_told(stack, welcome)
                logger.info("The lab is stopping.")
            finally:
                await stack.stop()
                await asyncio.to_thread(clear_marked, settings.data_folder)
                forget_record(settings.data_folder)
        logger.info("The lab has stopped.")


class Stack:
    """
    The processes of one lab.

    Parameters
    ----------
    settings : Settings
        The settings of the lab.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = addresses(settings).public
        self._processes: list[SupervisedProcess] = []
        self._is_ready = False

    async def start(self) -> Welcome:
        """
        Start every process, each stage when the one before is ready.

        Raises
        ------
        LabError
            If one does not become ready.
        """
        account = notebook_account(self._settings)
        database_url = await self._start_database()
        await prepare_databases(database_url, self._settings.config.database.connect_timeout_s)
        for specs in stages(self._settings, database_url, account):
            await self._start(specs)
        self._is_ready = True
        self._save()
        return await self._welcome(database_url)

    async def stop(self) -> None:
        """Stop every process, the last started first."""
        for process in reversed(self._processes):
            await process.stop()

    def hurry(self) -> None:
        """Kill every process at once."""
        for process in self._processes:
            process.kill()

    async def _start_database(self) -> str:
        configured = self._settings.config.database.url
        if configured is not None:
            return configured.get_secret_value()
        server = embedded_server(self._settings)
        await self._start([database_spec(server, self._settings)])
        return server.url()

    async def _start(self, specs: Sequence[ProcessSpec]) -> None:
        folder = self._settings.data_folder
        new = [SupervisedProcess(spec, folder, self._save) for spec in specs]
        self._processes += new
        try:
            async with asyncio.TaskGroup() as group:
                for process in new:
                    group.create_task(process.start())
        except ExceptionGroup as failed:
            raise first_error(failed) from None
        logger.info("Ready: %s.", ", ".join(spec.name for spec in specs))

    async def _welcome(self, database_url: str) -> Welcome:
        """Make the first administrator last: a start that failed must not keep the password."""
        config = self._settings.config
        async with (
            Database(config.database, database_url) as database,
            database.accounts() as accounts,
        ):
            password = await accounts.ensure_admin(config.hub.admin)
        return Welcome(self._url, config.hub.admin, password)

    def _save(self) -> None:
        record = StackRecord(
            pid=os.getpid(),
            started_at=psutil.Process().create_time(),
            url=self._url,
            ready=self._is_ready and all(p.state is State.READY for p in self._processes),
            processes=tuple(_recorded(process) for process in self._processes),
        )
        write_record(self._settings.data_folder, record)


def first_error(group: ExceptionGroup[Exception]) -> Exception:
    """Return the error that stopped a start; those that follow from it are not shown."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, ExceptionGroup) else error


def _owned_database(settings: Settings) -> AbstractAsyncContextManager[None]:
    """Keep the embedded server, if the lab uses it, to this supervisor."""
    embedded = settings.config.database.url is None
    return embedded_server(settings).owned() if embedded else nullcontext()


async def _until_told(stack: Stack, welcome: Callable[[Welcome], None]) -> None:
    """Start the lab and run it until the first signal; a second one kills what is left."""
    told = asyncio.Event()

    def on_signal() -> None:
        if told.is_set():
            stack.hurry()
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    start = asyncio.create_task(stack.start())
    end = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({start, end}, return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            welcome(start.result())
            await end
    finally:
        start.cancel()
        end.cancel()
        await asyncio.wait({start, end})


def _recorded(process: SupervisedProcess) -> ProcessRecord:
    return ProcessRecord(
        name=process.spec.name,
        state=process.state.value,
        pid=process.pid,
        port=process.spec.port,
        started_at=process.started_at,
        restarts=process.restarts,
    )
