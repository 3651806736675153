"""What the hub's settings need that has to be computed."""

from pathlib import Path
from typing import Any

from lab.config import Settings
from lab.db import Database
from lab.errors import ConfigError
from lab.supervisor.addresses import addresses
from lab.supervisor.databases import hub_database_url
from lab.supervisor.environment import untrusted_environment

JUPYTER_CONFIG = Path(__file__).parent / "jupyter"
"""What JupyterLab leaves out here: news and updates, for which it would ask the internet."""

PAGES = "/services/dashboards/voila/render"


def database_url(settings: Settings) -> str:
    """Return the URL of the hub's own database."""
    return hub_database_url(_lab_url(settings))


def database(settings: Settings) -> Database:
    """Return the lab's database, not yet open."""
    return Database(settings.config.database, _lab_url(settings))


def server_environment(settings: Settings) -> dict[str, str]:
    """Return the variables of a notebook server, where `lab.connect()` finds the API."""
    environment = untrusted_environment(settings)
    return environment | {
        "LAB_API_URL": addresses(settings).api,
        "JUPYTER_CONFIG_PATH": str(JUPYTER_CONFIG),
    }


def template_vars() -> dict[str, Any]:
    """Return what the hub's pages show beside their own: the ways into the lab."""
    return {
        "lab_chat_url": f"{PAGES}/chat.ipynb",
        "lab_research_url": f"{PAGES}/research.ipynb",
        "lab_memory_url": f"{PAGES}/memory.ipynb",
        "lab_api_url": "/services/api/docs",
    }


def _lab_url(settings: Settings) -> str:
    url = settings.config.database.url
    if url is None:
        raise ConfigError("The hub needs LAB_DATABASE_URL; start it with `lab up`, which sets it.")
    return url.get_secret_value()
