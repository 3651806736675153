"""What a model in GGUF needs, and how its server is started."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lab.pipelines.devices import candidates, torch_device
from lab.pipelines.llama_cpp.gguf_file import GgufModel, gguf_bytes, read_gguf
from lab.pipelines.llama_cpp.settings import (
    VARIABLES,
    is_gguf,
    serve_command,
    settings_of,
    window_of,
)
from lab.pipelines.loading import clear_errors
from lab.pipelines.need import MemoryNeed, Prospect
from lab.pipelines.served.chat import Address, ServedChat, Server, child_environment, serve_chat
from lab.pipelines.tally import Tally
from lab.schemas.chat_config import Quantization
from lab.schemas.llama_cpp_config import LlamaCppConfig
from lab.schemas.llama_cpp_model import LlamaCppModel
from lab.schemas.model import Model
from lab.schemas.remote_kind import RemoteKind

STEP_TOKENS: Final = 512
"""Tokens that llama.cpp computes at a time (its `--ubatch-size`)."""

FLOAT: Final = 4
PER_TOKEN: Final = 8
"""Rows of a token's width that a layer has alive at once, besides the scores of the vocabulary."""


def foretell_llama_cpp(model: Model, config: LlamaCppConfig) -> Prospect[Quantization]:
    """
    Return the memory that a model will need, by what its file tells.

    Raises
    ------
    ModelLoadError
        If the file cannot be read, or there is no such device.
    """
    settings = settings_of(model, config)
    with clear_errors(model):
        devices = [str(device) for device in candidates(settings.device)]
    told = read_gguf(Path(settings.model))
    return Prospect(
        model.id,
        devices,
        f"for {settings.streams} answers of {window_of(settings, told):,} tokens at a time",
        "Give it a smaller `max_length` or fewer `streams` in llama_cpp.models, take a file with "
        "fewer bits, or a device with more memory.",
        {Quantization.none: _need(settings, told)},
    )


def load_llama_cpp(
    model: Model,
    config: LlamaCppConfig,
    device: str,
    tally: Tally | None = None,
    lab_closes: threading.Event | None = None,
    environ: Mapping[str, str] = os.environ,  # noqa: TID251 - handed on, not read
) -> ServedChat:
    """
    Start llama.cpp's server with a model; blocks until it answers.

    Parameters
    ----------
    model : Model
        Its entry in the catalog.
    config : LlamaCppConfig
        How it is started.
    device : str
        Where it runs.
    tally : Tally, optional
        Where its tokens are counted.
    lab_closes : threading.Event, optional
        When it is set, the start is given up.
    environ : mapping
        The variables of this process.

    Raises
    ------
    ModelLoadError
        If llama.cpp is not installed, the file cannot be read, or the server does not start.
    """
    settings, address = settings_of(model, config), Address()
    told = read_gguf(Path(settings.model))
    length, need = window_of(settings, told), _need(settings, told)
    command = serve_command(
        config,
        settings,
        port=address.port,
        length=length,
        on_cpu=torch_device(device).type == "cpu",
        search=environ.get("PATH", os.defpath),
    )
    server = Server(
        kind=RemoteKind.llama_cpp,
        address=address,
        command=command,
        environment=VARIABLES | child_environment(environ, device) | {"LLAMA_API_KEY": address.key},
        n_bytes=need.weights + need.cache,
        tokenizer=settings.tokenizer or "",
        length=length,
        start_timeout_s=config.start_timeout_s,
        stop_timeout_s=config.stop_timeout_s,
        timeout_s=config.timeout_s,
    )
    return serve_chat(model, server, tally, lab_closes)


def _need(settings: LlamaCppModel, told: GgufModel) -> MemoryNeed:
    """Return what a model needs; files that its arguments name lie beside its weights."""
    named = [Path(part.rpartition("=")[2]) for part in settings.arguments]
    more = sum(gguf_bytes(file) for file in named if is_gguf(file.name) and file.is_file())
    return MemoryNeed(
        weights=gguf_bytes(Path(settings.model)) + more,
        cache=told.token_bytes * window_of(settings, told) * settings.streams,
        activations=STEP_TOKENS * FLOAT * (told.n_vocabulary + PER_TOKEN * told.width),
    )
