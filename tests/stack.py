"""
The whole lab for tests: started once by `lab up --detach`, stopped at the end.

A `conftest.py` that imports `stack` gives its tests the fixture; all of one run share one lab.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.supervisor.orphans import marked
from lab.supervisor.record import ProcessRecord, StackRecord, read_record
from tests.ports import free_ports
from tests.tiny_llama import UNGUARDED, save_tiny_llama

__all__ = [
    "RunningStack",
    "Visitor",
    "endless",
    "lab_folder",
    "running_stack",
    "stack",
    "start_stack",
]

LAB = str(Path(sys.executable).with_name("lab"))
PORTS = (
    "SERVER",
    "SERVER_HUB",
    "SERVER_PROXY_API",
    "SERVER_API",
    "SERVER_DASHBOARDS",
    "SERVER_SCHEDULER",
    "DATABASE",
)
PASSWORD = re.compile(r"with the password (\S+)")


@dataclass(frozen=True)
class RunningStack:
    """
    A lab that runs on free ports and a data folder of its own.

    Attributes
    ----------
    url : str
        What a person opens.
    admin, password : str
        Who may log in.
    data_folder : Path
        Where the lab keeps its files.
    environment : dict
        Variables that make `lab …` mean this lab.
    """

    url: str
    admin: str
    password: str
    data_folder: Path
    environment: dict[str, str]

    def lab(self, *arguments: str, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run a command of the lab's command line."""
        return run_lab(self.environment, *arguments, timeout_s=timeout_s)

    def record(self) -> StackRecord:
        """Return what the supervisor last wrote down."""
        record = read_record(self.data_folder)
        assert record is not None
        return record

    def process(self, name: str) -> ProcessRecord:
        """Return one process as the supervisor last saw it."""
        return next(p for p in self.record().processes if p.name == name)

    def add_user(self, name: str) -> str:
        """Let somebody log in; return the password."""
        added = self.lab("users", "add", name)
        assert added.returncode == 0, added.stderr
        return added.stdout.strip()

    @asynccontextmanager
    async def visitor(self, name: str, password: str) -> AsyncIterator["Visitor"]:
        """Log somebody in as a browser does."""
        async with httpx.AsyncClient(
            base_url=self.url, follow_redirects=True, timeout=60
        ) as browser:
            visitor = Visitor(name, browser)
            visitor.landing = await visitor.log_in(password)
            yield visitor


class Visitor:
    """Somebody who has logged in."""

    landing: httpx.Response

    def __init__(self, name: str, browser: httpx.AsyncClient) -> None:
        self.name = name
        self.browser = browser

    async def log_in(self, password: str) -> httpx.Response:
        """Fill in the form; return the page that follows."""
        await self.browser.get("/hub/login")
        form = {"username": self.name, "password": password, "_xsrf": self._xsrf()}
        return await self.browser.post("/hub/login", data=form)

    async def hub(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Ask the hub's API, as its pages do."""
        headers = {"X-XSRFToken": self._xsrf(), "Referer": f"{self.browser.base_url}hub/home"}
        return await self.browser.request(method, f"/hub/api{path}", headers=headers, **body)

    async def token(self, *scopes: str) -> str:
        """Return a new token of the person's."""
        asked = {"note": "test", "expires_in": 3600, **({"scopes": scopes} if scopes else {})}
        answer = await self.hub("POST", f"/users/{self.name}/tokens", json=asked)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    async def start_server(self, timeout_s: float = 120) -> None:
        """Start the person's notebook server and wait until it is ready."""
        asked = await self.hub("POST", f"/users/{self.name}/server")
        assert asked.status_code in (201, 202), asked.text
        deadline = time.monotonic() + timeout_s
        while True:
            user = (await self.hub("GET", f"/users/{self.name}")).json()
            if user["server"]:
                return
            assert time.monotonic() < deadline, user
            await asyncio.sleep(0.3)

    def _xsrf(self) -> str:
        cookies = [c for c in self.browser.cookies.jar if c.name == "_xsrf" and c.path == "/hub/"]
        return str(cookies[-1].value)


def run_lab(
    environment: dict[str, str], *arguments: str, timeout_s: float = 120
) -> "subprocess.CompletedProcess[str]":
    """Run a command of the lab's command line."""
    return subprocess.run(
        [LAB, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def lab_environment(data_folder: Path) -> dict[str, str]:
    """Return variables of a lab on free ports and nothing of the caller's settings."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("LAB_", "JUPYTERHUB_"))}
    ports = free_ports(len(PORTS))
    return {
        **ours,
        **{f"LAB_{name}_PORT": str(port) for name, port in zip(PORTS, ports, strict=True)},
        "LAB_DATA_FOLDER": str(data_folder),
        "COLUMNS": "200",
    }


def lab_folder() -> Path:
    """Return a new data folder that other accounts may enter, which pytest's may not."""
    folder = Path(tempfile.mkdtemp(prefix="lab-test-"))
    folder.chmod(0o755)
    return folder


def start_stack(environment: dict[str, str]) -> RunningStack:
    """Start a lab in the background and return when it is ready."""
    up = run_lab(environment, "up", "--detach", timeout_s=240)
    assert up.returncode == 0, up.stderr
    password = PASSWORD.search(up.stderr)
    return RunningStack(
        url=f"http://127.0.0.1:{environment['LAB_SERVER_PORT']}",
        admin="admin",
        password=password[1] if password else "",
        data_folder=Path(environment["LAB_DATA_FOLDER"]),
        environment=environment,
    )


@contextmanager
def running_stack(**settings: str) -> Iterator[RunningStack]:
    """Run a lab with these variables; at the end it is stopped and must leave no process behind."""
    folder = lab_folder()
    environment = lab_environment(folder) | settings
    try:
        yield start_stack(environment)
    finally:
        down = run_lab(environment, "down")
        left = marked(folder)
        assert down.returncode == 0, down.stderr
        assert not left, left
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """Return a lab that runs with what it brings."""
    with running_stack() as running:
        assert running.password, "the first start shows the administrator's password"
        yield running


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Return a lab whose model is a folder, a random Llama whose answers fill a large window."""
    model = save_tiny_llama(tmp_path_factory.mktemp("models") / "endless", 16_384)
    with running_stack(LAB_CHAT_MODEL=str(model), **UNGUARDED) as running:
        yield running
