"""A lab for one program: the API, or a key to the one that runs, in a child that ends with it."""

import atexit
import json
import subprocess
import sys
import threading
from concurrent.futures import Future

from lab.client.address import Address
from lab.errors import ServiceError, rebuild

STOP_S = 30
"""Running answers, models and the database get this long to end."""


class LocalLab:
    """
    Start a lab and stop it; where one runs on the data folder already, get a key to that one.

    The child listens on loopback with a random key that it tells only us, or makes a key that ends
    with it. It ends when its standard input closes, so also when this program is killed.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Future[Address]:
        """Start the child; the address comes when it answers."""
        address: Future[Address] = Future()
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "api.local"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C stops what this program does, not the lab under it.
            start_new_session=True,
        )
        atexit.register(self.stop)
        threading.Thread(target=_await_address, args=(process, address), daemon=True).start()
        return address

    def stop(self) -> None:
        """Close the child's standard input and wait until it is gone."""
        if self._process is None:
            return
        process, self._process = self._process, None
        atexit.unregister(self.stop)
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _await_address(process: "subprocess.Popen[str]", address: Future[Address]) -> None:
    """Read the one line in which the child says where it is, or why it cannot be."""
    if process.stdout is None:
        raise TypeError("The child's standard output must be a pipe.")
    line = process.stdout.readline()
    try:
        said = json.loads(line)
    except json.JSONDecodeError:
        address.set_exception(
            ServiceError("The lab of this program ended while it started; its log is above.")
        )
        return
    if "url" in said:
        address.set_result(Address(said["url"], said["token"]))
    else:
        address.set_exception(rebuild(said["code"], said["message"]))
