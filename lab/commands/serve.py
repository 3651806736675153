"""`lab serve`: the API without a hub."""

import asyncio
import signal

import typer
import uvicorn

from api.main import create_app
from lab.commands.printing import notes
from lab.config import Settings, load_settings
from lab.evals.serving import GuestServer
from lab.supervisor.addresses import addresses, check_port
from lab.supervisor.record import recorded_serving

app = typer.Typer(add_completion=False)


@app.command()
def serve() -> None:
    """
    Run the API alone, without a hub; clients use API keys.

    The database is the embedded one unless LAB_DATABASE_URL is set. Ctrl-C stops it.

    Examples: `lab serve` · `LAB_CHAT_MODEL=Qwen/Qwen3-0.6B LAB_SERVER_PORT=9000 lab serve`
    """
    settings = load_settings()
    check_port(settings, "server.port")
    url = addresses(settings).public
    notes.print(f"The API starts at [bold]{url}/v1[/], its documents at {url}/docs.")
    notes.print("Clients need a key: `lab keys create NAME`.")
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    """Serve until told to end; what cannot start raises here, where uvicorn would log a trace."""
    server = settings.config.server
    api = create_app(settings)
    config = uvicorn.Config(
        api,
        host=server.host,
        port=server.port,
        lifespan="off",
        log_level=settings.config.logging.level.value,
        access_log=False,  # the app writes a line of its own for a request
        timeout_graceful_shutdown=round(server.drain_timeout_s),
    )
    async with api.router.lifespan_context(api):
        guest = GuestServer(config)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, guest.handle_exit, number, None)
        with recorded_serving(settings.data_folder, addresses(settings).public):
            await guest.serve()
