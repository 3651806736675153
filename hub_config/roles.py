"""Who may do what on the hub, and with which token."""

from collections.abc import Iterable
from typing import Any

from jupyterhub.spawner import Spawner

from lab.schemas.scope import Scope
from lab.supervisor.services import USER_SCOPES, HubService, access

ADMINS = "lab-admins"
"""Group of the people who administer the lab."""

SERVER_SCOPES = ("users:activity!user", "access:servers!server")
"""What the hub's own role lets a notebook server do."""


def custom_scopes() -> dict[str, dict[str, str]]:
    """Return the scopes that the lab adds to the hub's."""
    return {
        Scope.custom_lab_infer.value: {"description": "Ask the lab's models."},
        Scope.custom_lab_memory.value: {"description": "Read and write one's own memory."},
        Scope.custom_lab_admin.value: {"description": "Administer the lab."},
    }


def roles(services: Iterable[HubService]) -> list[dict[str, Any]]:
    """Return the hub's roles: everybody's, the administrators', and one a service."""
    reach = [access(service.name) for service in services if service.url]
    own = [
        {"name": f"lab-{service.name}", "scopes": list(service.scopes), "services": [service.name]}
        for service in services
        if service.scopes
    ]
    return [
        {"name": "user", "scopes": ["self", *reach, *USER_SCOPES]},
        {"name": "lab-admin", "scopes": [Scope.custom_lab_admin.value], "groups": [ADMINS]},
        *own,
    ]


def server_token_scopes(spawner: Spawner) -> list[str]:
    """Return what the token of a notebook server may do, of what its user may do."""
    admin = [Scope.custom_lab_admin.value] if spawner.user.admin else []
    return [*SERVER_SCOPES, access("api"), *USER_SCOPES, *admin]
