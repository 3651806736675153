"""Find the lab, or start one."""

import os
from collections.abc import Mapping
from concurrent.futures import Future

from lab.client.address import Address
from lab.client.lab import Lab
from lab.errors import AuthenticationError
from lab.local import LocalLab

URL = "LAB_API_URL"
TOKENS = ("HTTP_X_LAB_TOKEN", "LAB_API_KEY", "JUPYTERHUB_API_TOKEN")
"""Where a token may be: of a dashboard's reader, of a program, of a notebook server."""


def connect(url: str | None = None, token: str | None = None) -> Lab:
    """
    Return the client of the lab.

    In the lab's own notebooks and dashboards nothing needs to be given. Where no lab is named, the
    one that runs on this data folder is used (`lab up`, `lab serve`); where none runs, one starts
    for this program alone, on the same data, and ends with it.

    Parameters
    ----------
    url : str, optional
        Address of the API, e.g. `http://127.0.0.1:8000`; by default `LAB_API_URL`.
    token : str, optional
        API key or hub token; by default `LAB_API_KEY` or that of the notebook server.

    Raises
    ------
    AuthenticationError
        If there is a lab and no token for it.
    """
    env: Mapping[str, str] = os.environ  # noqa: TID251 - wiring, as the server and the hub set it
    url = url or env.get(URL)
    if not url:
        local = LocalLab()
        return Lab(local.start(), close=local.stop)
    token = token or next((env[name] for name in TOKENS if env.get(name)), None)
    if not token:
        raise AuthenticationError(
            f"No token for the lab at {url}; set LAB_API_KEY to a key of `lab keys create NAME`."
        )
    address: Future[Address] = Future()
    address.set_result(Address(url.rstrip("/"), token))
    return Lab(address)
