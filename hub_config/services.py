"""The lab's services as the hub knows them."""

from collections.abc import Iterable
from typing import Any

from lab.supervisor.services import HubService


def services(known: Iterable[HubService]) -> list[dict[str, Any]]:
    """Return the hub's list of services; our supervisor runs them, so none has a command."""
    return [_service(service) for service in known]


def _service(service: HubService) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": service.name,
        "api_token": service.token,
        "display": service.url is not None,
    }
    if service.url:
        described |= {
            "url": service.url,
            "oauth_client_id": service.client_id,
            "oauth_redirect_uri": service.redirect_uri,
            "oauth_client_allowed_scopes": list(service.user_scopes),
            # Part of the lab, so nobody is asked whether the lab may know who they are.
            "oauth_no_confirm": True,
        }
    return described
