"""The processes of the lab, in the order they start."""

import signal
import sys
from functools import partial

import httpx

from lab.config import Settings
from lab.db import EmbeddedPostgres
from lab.db.os_account import OsAccount
from lab.errors import ServiceError
from lab.supervisor.accounts import own_folder
from lab.supervisor.addresses import LOOPBACK, addresses
from lab.supervisor.credentials import load_credentials
from lab.supervisor.environment import (
    secret_variables,
    trusted_environment,
    untrusted_environment,
)
from lab.supervisor.probes import answers
from lab.supervisor.process import ProcessSpec
from lab.supervisor.proxy import package_folder, proxy_command
from lab.supervisor.services import HubService, hub_services, service_environment


def database_spec(server: EmbeddedPostgres, settings: Settings) -> ProcessSpec:
    """Return the embedded PostgreSQL as a process."""
    hub = addresses(settings).hub
    token = load_credentials(settings.data_folder).supervisor

    async def greet() -> None:
        await server.wait_ready()
        # The hub holds a connection between requests; a lost one fails whatever request comes next.
        # Better this one than a person's.
        await _ask_hub("GET", f"{hub}/hub/api/", token)

    return ProcessSpec(
        name="postgres",
        command=tuple(server.command()),
        environment=untrusted_environment(settings) | {"HOME": str(server.folder)},
        ready=server.ready,
        port=server.port,
        stop_signal=signal.SIGINT,  # its fast shutdown: does not wait for clients
        prepare=server.prepare,
        greet=greet,
    )


def stages(
    settings: Settings, database_url: str, account: OsAccount | None
) -> list[list[ProcessSpec]]:
    """
    Return the processes that need the database; those of one stage start together.

    Parameters
    ----------
    settings : Settings
        The settings of the lab.
    database_url : str
        URL of the lab's database.
    account : OsAccount or None
        Who runs the dashboards when we are root.
    """
    services = {service.name: service for service in hub_services(settings)}
    trusted = trusted_environment(settings, database_url)
    return [
        [
            _api(settings, services["api"], trusted),
            _dashboards(settings, services["dashboards"], account),
            _proxy(settings, trusted),
        ],
        [_hub(settings, trusted)],
        [_scheduler(settings, services["scheduler"], trusted)],
    ]


def _api(settings: Settings, service: HubService, trusted: dict[str, str]) -> ProcessSpec:
    at = addresses(settings)
    server = settings.config.server
    command = (
        *(sys.executable, "-m", "uvicorn", "api.main:create_app", "--factory"),
        *("--host", LOOPBACK, "--port", str(server.api_port)),
        *("--timeout-graceful-shutdown", str(round(server.drain_timeout_s))),
        *("--log-level", settings.config.logging.level.value),
        "--no-access-log",  # the app writes a line of its own for a request
    )
    return ProcessSpec(
        name=service.name,
        command=command,
        environment=trusted | service_environment(service, at.hub),
        ready=answers(f"{at.api}/readyz"),
        port=server.api_port,
    )


def _dashboards(settings: Settings, service: HubService, account: OsAccount | None) -> ProcessSpec:
    at = addresses(settings)
    home = own_folder(settings.data_folder / "homes" / ".dashboards", account)
    return ProcessSpec(
        name=service.name,
        command=(
            *(account.prefix() if account else ()),
            *(sys.executable, "-m", "hub_config.dashboards"),
        ),
        environment=untrusted_environment(settings)
        | service_environment(service, at.hub)
        | {"LAB_API_URL": at.api, "HOME": str(home)},
        # Who is not logged in is sent to the hub: that is an answer.
        ready=answers(f"{at.dashboards}{service.prefix}", below=400),
        port=settings.config.server.dashboards_port,
    )


def _proxy(settings: Settings, trusted: dict[str, str]) -> ProcessSpec:
    at = addresses(settings)
    credentials = load_credentials(settings.data_folder)
    headers = {"Authorization": f"token {credentials.proxy}"}
    return ProcessSpec(
        name="proxy",
        command=proxy_command(settings),
        environment=_without_secrets(trusted) | {"CONFIGPROXY_AUTH_TOKEN": credentials.proxy},
        ready=answers(f"{at.proxy_api}/api/routes", headers),
        port=settings.config.server.port,
        greet=partial(_restore_routes, at.hub, credentials.supervisor),
    )


async def _restore_routes(hub: str, token: str) -> None:
    """Let the hub tell a new proxy its routes; a hub that does not run does so when it starts."""
    response = await _ask_hub("POST", f"{hub}/hub/api/proxy", token)
    if response and response.is_error:
        raise ServiceError(f"The hub did not renew the proxy's routes: {response.text[:200]}")


async def _ask_hub(method: str, url: str, token: str) -> httpx.Response | None:
    """Return the hub's answer, or nothing while it does not run."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        try:
            return await client.request(method, url, headers={"Authorization": f"token {token}"})
        except httpx.TransportError:
            return None


def _hub(settings: Settings, trusted: dict[str, str]) -> ProcessSpec:
    at = addresses(settings)
    credentials = load_credentials(settings.data_folder)
    config = package_folder("hub_config") / "jupyterhub_config.py"
    return ProcessSpec(
        name="hub",
        command=(sys.executable, "-m", "jupyterhub", "--config", str(config)),
        environment=trusted
        | {"CONFIGPROXY_AUTH_TOKEN": credentials.proxy, "JPY_COOKIE_SECRET": credentials.cookie},
        # Not through the proxy, which writes a stack for each look at a hub that is not up yet.
        ready=answers(f"{at.hub}/hub/health"),
        port=settings.config.server.hub_port,
    )


def _scheduler(settings: Settings, service: HubService, trusted: dict[str, str]) -> ProcessSpec:
    at = addresses(settings)
    return ProcessSpec(
        name=service.name,
        command=(sys.executable, "-m", "lab.evals.scheduler"),
        environment=trusted | service_environment(service, at.hub) | {"LAB_API_URL": at.api},
        ready=answers(f"{at.scheduler}/healthz"),
        port=settings.config.server.scheduler_port,
    )


def _without_secrets(environment: dict[str, str]) -> dict[str, str]:
    secret = secret_variables()
    return {name: value for name, value in environment.items() if name not in secret}
