"""
The dashboards: Voilà behind the hub's login (`python -m hub_config.dashboards`).

A kernel learns who is looking from `HTTP_X_LAB_TOKEN`: the person's own token, which may ask the
lab's models and read that person's memory. The token of this service stays out of the kernels.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jupyter_server.base.handlers import JupyterHandler
from jupyterhub.singleuser.extension import (
    JupyterHubAuthorizer,
    JupyterHubIdentityProvider,
    JupyterHubUser,
)
from traitlets.config import Config
from voila.app import Voila

from lab.config import Settings, load_settings

TEMPLATES = Path(__file__).parent / "voila"
TOKEN_HEADER = "X-Lab-Token"
CULL_INTERVAL_S = 60
# Extensions of JupyterLab that ask for a server which Voilà is not.
UNFIT_EXTENSIONS = ["@jupyterhub/jupyter-server-proxy", "@jupyterlab/scheduler"]
# A page asks the lab and nobody else; Voilà's own template would ask a CDN for a stylesheet.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' blob: 'unsafe-inline'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' blob: data:",
        "font-src 'self' data:",
        "frame-ancestors 'self'",
    ]
)


class HubIdentity(JupyterHubIdentityProvider):  # type: ignore[misc]  # JupyterHub has no types
    """The hub's login, in the shape that Voilà asks for."""

    def __init__(self, **traits: Any) -> None:
        # Voilà passes its own; ours come from the hub.
        for unused in ("token", "login_handler_class"):
            traits.pop(unused, None)
        super().__init__(**traits)

    @property
    def auth_enabled(self) -> bool:
        """Nobody sees a dashboard without login."""
        return True

    async def get_user(self, handler: JupyterHandler) -> JupyterHubUser | None:
        """Return who is looking, and write their token over whatever the browser sent."""
        user = await super().get_user(handler)
        token = self.hub_auth.get_token(handler) if user else None
        handler.request.headers[TOKEN_HEADER] = token or ""
        return user

    def get_handlers(self) -> list[tuple[Any, ...]]:
        """Return the pages of the login under our prefix, which Voilà does not add."""
        prefix = self.hub_auth.base_url.rstrip("/")
        return [(prefix + path, *rest) for path, *rest in super().get_handlers()]


class Dashboards(Voila):  # type: ignore[misc]  # Voilà has no types
    """Voilà with the lab's own page around a notebook."""

    template_paths: list[str]

    def setup_template_dirs(self) -> None:
        """Put our templates before Voilà's, which they extend."""
        super().setup_template_dirs()
        self.template_paths = [str(TEMPLATES), *self.template_paths]


def configuration(settings: Settings, prefix: str, url: str) -> Config:
    """
    Return Voilà's settings.

    Parameters
    ----------
    settings : Settings
        The settings of the lab.
    prefix : str
        Path of the service behind the proxy.
    url : str
        Where the service listens.
    """
    address = urlsplit(url)
    config = Config()
    config.Voila.update(
        identity_provider_class=HubIdentity,
        authorizer_class=JupyterHubAuthorizer,
        base_url=prefix,
        server_url=prefix,
        ip=address.hostname,
        port=address.port,
        port_retries=0,
        open_browser=False,
        root_dir=str(settings.notebooks_folder / "dashboards"),
        tornado_settings={"headers": {"Content-Security-Policy": CONTENT_SECURITY_POLICY}},
    )
    config.VoilaConfiguration.update(
        http_header_envs=[TOKEN_HEADER],
        extension_denylist=UNFIT_EXTENSIONS,
        file_allowlist=[],
        show_tracebacks=False,
    )
    config.MappingKernelManager.update(
        cull_idle_timeout=settings.config.hub.cull_idle_s,
        cull_interval=CULL_INTERVAL_S,
        cull_connected=False,
    )
    return config


def main() -> None:
    """Serve the dashboards until told to end."""
    environ = os.environ  # noqa: TID251 - the hub's contract with its services
    config = configuration(
        load_settings(), environ["JUPYTERHUB_SERVICE_PREFIX"], environ["JUPYTERHUB_SERVICE_URL"]
    )
    # Kernels inherit this process's variables.
    config.HubOAuth.api_token = environ.pop("JUPYTERHUB_API_TOKEN")
    Dashboards.launch_instance(argv=[], config=config)


if __name__ == "__main__":
    main()
