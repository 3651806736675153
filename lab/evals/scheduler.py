"""The scheduler service: `python -m lab.evals.scheduler`."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import structlog
from fastapi import FastAPI, Response

from lab.config import Settings, load_settings
from lab.db import Database
from lab.db.maintenance import tend
from lab.errors import ConfigError, DatabaseError, LabError
from lab.evals.clock import SYNC_INTERVAL_S, Clock
from lab.evals.serving import LOOPBACK, serving
from lab.evals.starter import Starter
from lab.schemas.database_config import DatabaseConfig

TENDING_INTERVAL_S = 24 * 3600.0
SILENCE = timedelta(seconds=10 * SYNC_INTERVAL_S)
"""How long the database may be away before the health page says so."""

log = structlog.get_logger(__name__)


async def serve(settings: Settings) -> None:
    """
    Fire schedules until the process is told to end.

    Raises
    ------
    ConfigError
        If no database is set: the embedded one belongs to the process that started it.
    ServiceError
        If another program has the port of the health page.
    """
    config = settings.config
    if config.database.url is None:
        raise ConfigError(
            "The scheduler needs LAB_DATABASE_URL; `lab up` starts it with the database it runs."
        )
    url = config.database.url.get_secret_value()
    async with Database(config.database, url) as database:
        starter = Starter(database, f"http://{LOOPBACK}:{config.server.api_port}")
        clock = Clock(database, url, starter.start, config.evaluation)
        async with (
            serving(health_app(clock), config.server.scheduler_port),
            tending(url, config.database),
        ):
            await _until_told(clock)


def health_app(clock: Clock) -> FastAPI:
    """Return the page by which the supervisor knows that the clock goes."""
    app = FastAPI(openapi_url=None)

    @app.get("/healthz")
    def healthz(response: Response) -> dict[str, object]:
        """Say whether the database answers, and whether this clock is the one that fires."""
        alive = clock.seen_at is not None and datetime.now(UTC) - clock.seen_at < SILENCE
        response.status_code = 200 if alive else 503
        return {"status": "ok" if alive else "no database", "ticks": clock.ticks}

    return app


@contextlib.asynccontextmanager
async def tending(url: str, config: DatabaseConfig) -> AsyncIterator[None]:
    """Look after the months of events and usage once a day."""

    async def tend_daily() -> None:
        while True:
            try:
                if gone := await tend(url, config):
                    log.info("months dropped, as the operator asked", names=gone)
            except DatabaseError as error:
                log.warning("the months of events and usage stay as they are", error=str(error))
            await asyncio.sleep(TENDING_INTERVAL_S)

    task = asyncio.create_task(tend_daily(), name="tending")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _until_told(clock: Clock) -> None:
    task = asyncio.create_task(clock.run())
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> int:
    """Run the service; return the exit status."""
    try:
        asyncio.run(serve(load_settings()))
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
