"""Where each process of the lab listens, and whether it can."""

import socket
from collections.abc import Collection
from dataclasses import dataclass

import psutil

from lab.config import Settings, env_name
from lab.errors import ConfigError, ServiceError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Addresses:
    """The URLs by which the lab's processes reach each other."""

    public: str
    """The proxy: what people open."""
    hub: str
    proxy_api: str
    api: str
    dashboards: str
    scheduler: str


def addresses(settings: Settings) -> Addresses:
    """Return the addresses that the settings name; all but the public one are loopback."""
    server = settings.config.server
    host = LOOPBACK if server.host in ("0.0.0.0", "::") else server.host
    return Addresses(
        public=_url(server.port, host),
        hub=_url(server.hub_port),
        proxy_api=_url(server.proxy_api_port),
        api=_url(server.api_port),
        dashboards=_url(server.dashboards_port),
        scheduler=_url(server.scheduler_port),
    )


def check_ports(settings: Settings, used: Collection[str] = ()) -> None:
    """
    Make sure that every port of the lab is free.

    Parameters
    ----------
    settings : Settings
        The settings of the lab.
    used : collection of str
        Settings of the ports on which the lab itself listens.

    Raises
    ------
    ConfigError
        If two settings name one port.
    ServiceError
        If another program listens on one of them, or the address is not this machine's.
    """
    check_no_port_twice(settings)
    for key in _ports(settings):
        if key not in used:
            check_port(settings, key)


def check_no_port_twice(settings: Settings) -> None:
    """
    Make sure that no two settings name one port.

    Raises
    ------
    ConfigError
        If two do.
    """
    ports = _ports(settings)
    for key, port in ports.items():
        twin = next(other for other, number in ports.items() if number == port)
        if twin != key:
            raise ConfigError(
                f"{env_name(twin)} and {env_name(key)} are both {port}; give each its own port."
            )


def check_port(settings: Settings, key: str) -> None:
    """
    Make sure that the port of one setting is free.

    Raises
    ------
    ServiceError
        If another program listens on it, or the address is not this machine's.
    """
    host = settings.config.server.host if key == "server.port" else LOOPBACK
    _check_free(key, host, _ports(settings)[key])


def _ports(settings: Settings) -> dict[str, int]:
    server = settings.config.server
    ports = {
        f"server.{name}": getattr(server, name)
        for name in type(server).model_fields
        if name.endswith("port")
    }
    if settings.config.database.url is None:
        ports["database.port"] = settings.config.database.port
    return ports


def _check_free(key: str, host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise ServiceError(
                f"Port {port} ({env_name(key)}) needs more rights than this account has; "
                f"set {env_name(key)} to a port above 1023."
            ) from None
        except OSError as error:
            raise ServiceError(
                f"Cannot listen on {host} port {port} ({env_name(key)}): "
                f"{_listener(port) or error.strerror}; end the other program, or set "
                f"{env_name(key)} to another value."
            ) from None


def _listener(port: int) -> str | None:
    """Return which process listens on the port, where the system tells us."""
    try:
        connections = psutil.net_connections("inet")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,):
            return f"it is in use by {_described(connection.pid)}"
    return None


def _described(pid: int | None) -> str:
    if pid is None:
        return "another account's program"
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        command = ""
    return f"process {pid} ({command[:80]})" if command else f"process {pid}"


def _url(port: int, host: str = LOOPBACK) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
