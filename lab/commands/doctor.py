"""`lab doctor`: whether this machine can run the lab."""

import asyncio
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from lab.commands.database import embedding_model
from lab.commands.printing import notes, print_json, print_table
from lab.config import Settings, load_settings
from lab.db import embedded_server, maintenance
from lab.db.cache_store import describe
from lab.db.embedded import binary
from lab.errors import LabError, ServiceError
from lab.pipelines.catalog import MINILM, WEIGHTS_SHA256, minilm_folder, packaged
from lab.pipelines.devices import torch_device
from lab.pipelines.files import check_sha256, local_folder
from lab.pipelines.llama_cpp.gguf_file import read_gguf
from lab.pipelines.llama_cpp.settings import find_server, model_id, with_files
from lab.sandbox import PythonSandbox
from lab.supervisor.accounts import notebook_account
from lab.supervisor.addresses import check_ports
from lab.supervisor.proxy import node, script
from lab.supervisor.record import SERVE, SUPERVISOR, living_record

FREE_BYTES = 2 * 1024**3

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    good: bool
    found: str


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Check that this machine can run the lab.

    The exit code is 0 when everything is in order, else 1.

    Examples: `lab doctor` · `lab doctor --json`
    """
    settings = load_settings()
    findings = [_examine(name, check, settings) for name, check in CHECKS.items()]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [
            (f.check, Text("ok", "green") if f.good else Text("no", "red"), f.found)
            for f in findings
        ]
        print_table(["check", "", "found"], rows)
    if not all(finding.good for finding in findings):
        notes.print("Not everything is in order.")
        raise typer.Exit(1)


def python(settings: Settings) -> str:
    """Find the interpreter, which notebooks must be able to run too."""
    account = notebook_account(settings)
    who = f"notebooks run as {account.name}" if account else "notebooks run as you"
    return f"{platform.python_version()} at {sys.executable}; {who}"


def nodejs(settings: Settings) -> str:
    """Find Node.js, which runs the proxy."""
    return _version(str(node()))


def proxy(settings: Settings) -> str:
    """Find the proxy."""
    return _version(str(node()), str(script()))


def postgres(settings: Settings) -> str:
    """Find the database server, unless another one is set."""
    if settings.config.database.url is not None:
        return "not needed: LAB_DATABASE_URL is set"
    return _version(str(binary("postgres")))


def cache(settings: Settings) -> str:
    """Ask the Redis that is set for its version."""
    return describe(settings.config.cache)


def data(settings: Settings) -> str:
    """See that the data folder can be written and has room."""
    free = shutil.disk_usage(settings.data_folder).free
    if free < FREE_BYTES:
        raise ServiceError(
            f"{settings.data_folder} has {free / 1024**3:.1f} GiB free, 2 are needed."
        )
    return f"{settings.data_folder}, {free / 1024**3:.0f} GiB free"


def ports(settings: Settings) -> str:
    """See that every port is free, or the lab's own."""
    for name in (SUPERVISOR, SERVE):
        if record := living_record(settings.data_folder, name):
            return f"the lab runs at {record.url}"
    if settings.config.database.url is None and (pid := embedded_server(settings).pid()):
        check_ports(settings, used=["database.port"])
        return f"all free; the lab's own PostgreSQL runs (process {pid})"
    check_ports(settings)
    return "all free"


def device(settings: Settings) -> str:
    """Name the device that models run on."""
    return str(torch_device(settings.config.chat.device))


def models(settings: Settings) -> str:
    """Check the files of the bundled models, and what the settings name for other engines."""
    names = [f"{model.id} at {local_folder(model)}" for model in packaged()]
    check_sha256(minilm_folder() / "model.safetensors", WEIGHTS_SHA256[MINILM])
    config = settings.config
    files = with_files(config.llama_cpp, [config.chat.model, *config.chat.models])
    for one in files.models:
        find_server(files, one)
        read_gguf(Path(one.model))
        names.append(f"{model_id(one)} at {one.model}")
    return "; ".join(names)


def memories(settings: Settings) -> str:
    """See that the present model embedded every memory, where the database runs."""
    model, config = embedding_model(settings), settings.config.database
    server = embedded_server(settings)
    if model is None:
        raise ServiceError(
            f"The files of `{settings.config.embedding.model}`, which embeds memories, are not "
            "here; the lab downloads them when it first needs them, if the network lets it."
        )
    if config.url is None and server.pid() is None:
        return f"not seen: the database does not run; new ones are embedded by {model}"
    url = config.url.get_secret_value() if config.url else server.url()
    if n := asyncio.run(maintenance.waiting(url, model, timeout_s=config.connect_timeout_s)):
        raise ServiceError(
            f"{n} memories and facts were not embedded by {model}, and are found by words alone; "
            "run `lab db reembed`."
        )
    return f"all embedded by {model}"


def sandbox(settings: Settings) -> str:
    """See that code which nobody trusts can be locked in."""
    return asyncio.run(PythonSandbox(settings.config.sandbox).check())


CHECKS: dict[str, Callable[[Settings], str]] = {
    "python": python,
    "node": nodejs,
    "proxy": proxy,
    "postgres": postgres,
    "cache": cache,
    "data folder": data,
    "ports": ports,
    "device": device,
    "models": models,
    "memories": memories,
    "sandbox": sandbox,
}


def _examine(name: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(name, True, check(settings))
    except LabError as error:
        return Finding(name, False, str(error))


def _version(*program: str) -> str:
    try:
        asked = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ServiceError(f"`{program[-1]}` does not run: {error}.") from error
    return f"{asked.stdout.strip()} at {program[-1]}"
