"""What a model needs under vLLM, and how its server is started."""

import os
import threading
from collections.abc import Mapping

from lab.pipelines.devices import candidates, devices_after, memory_of, torch_device
from lab.pipelines.loading import clear_errors
from lab.pipelines.need import MemoryNeed, Prospect
from lab.pipelines.served.chat import Address, ServedChat, Server, child_environment, serve_chat
from lab.pipelines.tally import Tally
from lab.pipelines.vllm.settings import n_devices_of, serve_command, settings_of
from lab.schemas.chat_config import Quantization
from lab.schemas.model import Model
from lab.schemas.remote_kind import RemoteKind
from lab.schemas.vllm_config import VllmConfig


def foretell_vllm(model: Model, config: VllmConfig) -> Prospect[Quantization]:
    """
    Return the memory that a model's process is given: what the settings say, of each device.

    Raises
    ------
    ModelLoadError
        If there are not so many devices.
    """
    settings = settings_of(model, config)
    n_more = n_devices_of(settings) - 1
    with clear_errors(model):
        found = [str(device) for device in candidates(settings.device)]
        firsts = found[: max(len(found) - n_more, 1)]  # further parts take the devices after
        beside = {first: devices_after(first, n_more) for first in firsts}
    return Prospect(
        model.id,
        firsts,
        "under vLLM",
        "Give it less `memory_gb` in vllm.models, choose a smaller model, or a device with more "
        "memory.",
        {Quantization.none: MemoryNeed(int(settings.memory_gb * 1e9), 0, 0)},
        beside=beside,
    )


def load_vllm(
    model: Model,
    config: VllmConfig,
    device: str,
    tally: Tally | None = None,
    lab_closes: threading.Event | None = None,
    environ: Mapping[str, str] = os.environ,  # noqa: TID251 - handed on, not read
) -> ServedChat:
    """
    Start vLLM with a model; blocks until it answers.

    Parameters
    ----------
    model : Model
        Its entry in the catalog.
    config : VllmConfig
        How it is started.
    device : str
        Its first device.
    tally : Tally, optional
        Where its tokens are counted.
    lab_closes : threading.Event, optional
        When it is set, the start is given up.
    environ : mapping
        The variables of this process.

    Raises
    ------
    ModelLoadError
        If vLLM is not installed, or does not start.
    """
    settings, address = settings_of(model, config), Address()
    n_bytes = int(settings.memory_gb * 1e9)
    command = serve_command(
        config,
        settings,
        port=address.port,
        share=n_bytes / memory_of(torch_device(device)),
        search=environ.get("PATH", os.defpath),
    )
    variables = child_environment(environ, device, n_devices_of(settings))
    server = Server(
        kind=RemoteKind.vllm,
        address=address,
        command=command,
        environment=variables | {"VLLM_API_KEY": address.key},
        n_bytes=n_bytes,
        tokenizer=model.source,
        length=settings.max_length,
        start_timeout_s=config.start_timeout_s,
        stop_timeout_s=config.stop_timeout_s,
        timeout_s=config.timeout_s,
    )
    return serve_chat(model, server, tally, lab_closes)
