"""`lab serve`: the API without a hub."""

import typer
import uvicorn

from api.main import create_app
from lab.commands.printing import notes
from lab.config import load_settings
from lab.supervisor.addresses import addresses, check_port

app = typer.Typer(add_completion=False)


@app.command()
def serve() -> None:
    """
    Run the API alone, without a hub; clients use API keys.

    The database is the embedded one unless LAB_DATABASE_URL is set. Ctrl-C stops it.

    Examples: `lab serve` · `LAB_CHAT_MODEL=Qwen/Qwen3-0.6B LAB_SERVER_PORT=9000 lab serve`
    """
    settings = load_settings()
    server = settings.config.server
    check_port(settings, "server.port")
    url = addresses(settings).public
    notes.print(f"The API starts at [bold]{url}/v1[/], its documents at {url}/docs.")
    notes.print("Clients need a key: `lab keys create NAME`.")
    uvicorn.run(
        create_app(settings),
        host=server.host,
        port=server.port,
        log_level=settings.config.logging.level.value,
        timeout_graceful_shutdown=round(server.drain_timeout_s),
    )
