"""What each service is to the hub: its name, its address, its token, and what it may do."""

import json
from dataclasses import dataclass

from lab.config import Settings
from lab.schemas.scope import Scope
from lab.supervisor.addresses import addresses
from lab.supervisor.credentials import Credentials, load_credentials

ALL_SCOPES = tuple(scope.value for scope in Scope)
USER_SCOPES = (Scope.custom_lab_infer.value, Scope.custom_lab_memory.value)


def access(name: str) -> str:
    """Return the scope that lets somebody use a service."""
    return f"access:services!service={name}"


@dataclass(frozen=True)
class HubService:
    """A process beside the hub that trusts the hub's users."""

    name: str
    token: str
    url: str | None = None
    """Where it listens, when it has pages; the proxy shows it under `prefix`."""
    scopes: tuple[str, ...] = ()
    """What it may do in its own name."""
    user_scopes: tuple[str, ...] = ()
    """What it may do in the name of a person who opened it in a browser."""

    @property
    def prefix(self) -> str:
        """The path of the service behind the proxy."""
        return f"/services/{self.name}/"

    @property
    def client_id(self) -> str:
        """The service as an OAuth client of the hub."""
        return f"service-{self.name}"

    @property
    def redirect_uri(self) -> str:
        """Where the hub sends a browser back to after login."""
        return f"{self.prefix}oauth_callback"


def hub_services(settings: Settings) -> tuple[HubService, ...]:
    """Return the services of this lab; tokens are made when there are none yet."""
    at = addresses(settings)
    tokens: Credentials = load_credentials(settings.data_folder)
    return (
        HubService("api", tokens.api, at.api, user_scopes=ALL_SCOPES),
        HubService(
            "dashboards",
            tokens.dashboards,
            at.dashboards,
            user_scopes=(access("api"), *USER_SCOPES),
        ),
        HubService("scheduler", tokens.scheduler, scopes=(access("api"), *ALL_SCOPES)),
        HubService("supervisor", tokens.supervisor, scopes=("proxy",)),
    )


def service_environment(service: HubService, hub_url: str) -> dict[str, str]:
    """Return the variables by which the hub's own library finds and trusts the hub."""
    needed = json.dumps([access(service.name)])
    return {
        "JUPYTERHUB_API_TOKEN": service.token,
        "JUPYTERHUB_API_URL": f"{hub_url}/hub/api",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": service.client_id,
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": needed,
        "JUPYTERHUB_OAUTH_CALLBACK_URL": service.redirect_uri,
        "JUPYTERHUB_OAUTH_SCOPES": needed,
        "JUPYTERHUB_SERVICE_NAME": service.name,
        "JUPYTERHUB_SERVICE_PREFIX": service.prefix,
        "JUPYTERHUB_SERVICE_URL": service.url or "",
    }
