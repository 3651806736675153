"""JupyterHub settings: assignments only; anything to compute is a function next to this file."""

import sys
from functools import partial
from pathlib import Path

from hub_config.authenticator import LabAuthenticator
from hub_config.roles import custom_scopes, roles, server_token_scopes
from hub_config.services import services
from hub_config.spawner import LabSpawner
from hub_config.wiring import database, database_url, server_environment, template_vars
from lab.config import load_settings
from lab.supervisor.addresses import addresses
from lab.supervisor.services import hub_services

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - JupyterHub provides it
settings = load_settings()
at = addresses(settings)
known = hub_services(settings)

c.JupyterHub.bind_url = at.public
c.JupyterHub.hub_bind_url = at.hub
c.JupyterHub.db_url = database_url(settings)
c.JupyterHub.upgrade_db = True
c.JupyterHub.log_level = settings.config.logging.level.value.upper()
c.JupyterHub.template_paths = [str(Path(__file__).parent / "templates")]
c.JupyterHub.template_vars = template_vars()
c.JupyterHub.default_url = "/hub/home"

# Our supervisor runs the proxy; it and the notebook servers outlive the hub, so that a hub that
# starts again cuts nobody off.
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = at.proxy_api
c.JupyterHub.cleanup_proxy = False
c.JupyterHub.cleanup_servers = False

c.JupyterHub.services = services(known)
c.JupyterHub.custom_scopes = custom_scopes()
c.JupyterHub.load_roles = roles(known)

c.JupyterHub.authenticator_class = LabAuthenticator
c.LabAuthenticator.new_database = partial(database, settings)
c.Authenticator.allow_all = True
c.Authenticator.manage_groups = True

c.JupyterHub.spawner_class = LabSpawner
c.LabSpawner.homes = settings.data_folder / "homes"
c.LabSpawner.notebooks = settings.notebooks_folder
c.LabSpawner.account_prefix = settings.config.hub.notebook_user
c.LabSpawner.base_environment = server_environment(settings)
# -P: a file in the home that is named like a module must not stop the server.
c.Spawner.cmd = [sys.executable, "-P", "-m", "jupyterhub.singleuser"]
c.Spawner.server_token_scopes = server_token_scopes
c.Spawner.default_url = "/lab"
c.Spawner.start_timeout = settings.config.hub.spawn_timeout_s
c.Spawner.http_timeout = settings.config.hub.spawn_timeout_s
