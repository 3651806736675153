"""The chat pipeline over vLLM's server in a process of the lab's."""

import os
import secrets
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, cast
from uuid import UUID

import httpx
import structlog
from pydantic import SecretStr

from lab.errors import ModelLoadError, UnavailableError
from lab.pipelines.devices import candidates, memory_of, torch_device
from lab.pipelines.need import MemoryNeed, Prospect
from lab.pipelines.remote.chat import RemoteChat
from lab.pipelines.remote.client import RemoteClient
from lab.pipelines.remote.counting import Counter, Estimate, counter_of
from lab.pipelines.remote.endpoints import length_of
from lab.pipelines.tally import Tally
from lab.pipelines.vllm.child import Child, ChildSpec, State
from lab.pipelines.vllm.settings import model_id, serve_command
from lab.schemas.chat_config import Quantization
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.remote_endpoint import RemoteEndpoint
from lab.schemas.remote_kind import RemoteKind
from lab.schemas.tool import Tool
from lab.schemas.vllm_config import VllmConfig
from lab.schemas.vllm_model import VllmModel

OURS: Final = ("LAB_", "JUPYTERHUB_")
"""Variables that begin so hold the lab's secrets, and are none of vLLM's business."""

log = structlog.get_logger(__name__)


class VllmChat:
    """
    Answer by vLLM; its process ends when this is closed.

    Parameters
    ----------
    chat : RemoteChat
        The way to it.
    child : Child
        Its process.
    n_bytes : int
        Memory of the device that it was given.
    """

    def __init__(self, chat: RemoteChat, child: Child, n_bytes: int) -> None:
        self._chat = chat
        self._child = child
        self._n_bytes = n_bytes
        self.model = chat.model.model_copy(update={"loaded": True})

    @property
    def n_bytes(self) -> int:
        """Bytes that it was given; 0 when it is closed."""
        return 0 if self._child.state is State.CLOSED else self._n_bytes

    @property
    def weight_bytes(self) -> None:
        """Nobody here knows: vLLM takes what it was given, and shares it out itself."""
        return None

    @property
    def active(self) -> int:
        """Answers under way."""
        return self._chat.active

    async def prepare(self, messages: Sequence[ChatMessage]) -> None:
        """Do nothing: vLLM looks at what it is sent."""

    def count_tokens(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        """Return the tokens of the prompt, rather too many than too few."""
        return self._chat.count_tokens(messages, tools)

    def count_text(self, text: str) -> int:
        """Return the tokens of a text alone."""
        return self._chat.count_text(text)

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        parameters: GenerationParameters,
        *,
        tools: Sequence[Tool] = (),
        owner: UUID | None = None,
    ) -> AsyncIterator[ChatDelta]:
        """Yield the answer as it comes; closing the iterator frees its place at once."""
        if self._child.state is not State.READY:
            raise UnavailableError(
                f"`{self.model.id}` is {self._child.state}: its server {self._child.ended}, and "
                "is started again. Try again in a moment."
            )
        answer = self._chat.stream(messages, parameters, tools=tools)
        async with aclosing(cast("AsyncGenerator[ChatDelta]", answer)) as deltas:
            async for delta in deltas:
                yield delta

    def rest(self) -> None:
        """Give nothing back: vLLM keeps what it was given."""

    def close(self) -> None:
        """End the process."""
        self._child.close()


def foretell_vllm(model: Model, config: VllmConfig) -> Prospect[Quantization]:
    """Return the memory that a model's process is given: what the settings say."""
    settings = settings_of(model, config)
    n_bytes = int(settings.memory_gb * 1e9)
    n_devices = settings.tensor_parallel * settings.pipeline_parallel
    found = candidates(settings.device)
    firsts = found[: max(len(found) - n_devices + 1, 1)]  # further parts take those after
    return Prospect(
        model.id,
        [str(device) for device in firsts],
        "under vLLM",
        "Give it less `memory_gb` in vllm.models, choose a smaller model, or a device with more "
        "memory.",
        {Quantization.none: MemoryNeed(n_bytes, 0, 0)},
    )


def load_vllm(
    model: Model,
    config: VllmConfig,
    device: str,
    tally: Tally | None = None,
    lab_closes: threading.Event | None = None,
    environ: Mapping[str, str] = os.environ,  # noqa: TID251 - handed on, not read
) -> VllmChat:
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
    settings = settings_of(model, config)
    port, key = free_port(), secrets.token_urlsafe(24)
    n_bytes = int(settings.memory_gb * 1e9)
    url = f"http://127.0.0.1:{port}"
    child = Child(
        ChildSpec(
            name=model.id,
            command=serve_command(
                config,
                settings,
                port=port,
                share=n_bytes / memory_of(torch_device(device)),
                search=environ.get("PATH", os.defpath),
            ),
            environment=child_environment(settings, device, environ, key),
            health_url=f"{url}/health",
            start_timeout_s=config.start_timeout_s,
            stop_timeout_s=config.stop_timeout_s,
        ),
        lab_closes,
    )
    child.start()
    endpoint = RemoteEndpoint(
        name=model.id.replace("/", "-"),
        url=f"{url}/v1",
        kind=RemoteKind.vllm,
        key=SecretStr(key),
        retries=0,
    )
    try:
        length = settings.max_length or served_length(model, url, key)
        chat = RemoteChat(
            model.model_copy(update={"context_length": length}),
            model.id,
            # Connections are not kept: no event loop is there to close them when the process ends.
            client=RemoteClient(endpoint, keep_alive=False),
            counter=counter_for(model, endpoint),
            tally=tally,
        )
    except BaseException:
        child.close()
        raise
    return VllmChat(chat, child, n_bytes)


def settings_of(model: Model, config: VllmConfig) -> VllmModel:
    """Return what the settings say of a model of the catalog."""
    return next(one for one in config.models if model_id(one) == model.id)


def child_environment(
    settings: VllmModel, device: str, environ: Mapping[str, str], key: str
) -> dict[str, str]:
    """Return the variables of vLLM's process: ours without the lab's secrets, and its devices."""
    theirs = {name: value for name, value in environ.items() if not name.startswith(OURS)}
    place = torch_device(device)
    if place.type == "cuda":
        n_devices = settings.tensor_parallel * settings.pipeline_parallel
        first = place.index or 0
        visible = [part for part in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
        numbers = range(first, first + n_devices)
        theirs["CUDA_VISIBLE_DEVICES"] = ",".join(
            visible[i] if i < len(visible) else str(i) for i in numbers
        )
    return theirs | {"VLLM_API_KEY": key}


def served_length(model: Model, url: str, key: str) -> int:
    """Return the window that vLLM says the model has."""
    response = httpx.get(
        f"{url}/v1/models",
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
        trust_env=False,
    )
    cards = response.json().get("data") or [{}] if response.is_success else [{}]
    length = length_of(cards[0])
    if length is None:
        raise ModelLoadError(
            f"vLLM does not say how many tokens the window of `{model.id}` holds; set `max_length` "
            "of the model in vllm.models."
        )
    return length


def counter_for(model: Model, endpoint: RemoteEndpoint) -> Counter:
    """Return what counts tokens by the model's own tokenizer, or estimates where it has none."""
    folder = Path(model.source).expanduser()
    if folder.is_dir() and not (folder / "tokenizer.json").is_file():
        return Estimate()
    try:
        return counter_of(endpoint.model_copy(update={"tokenizer": model.source}))
    except ModelLoadError as error:
        log.warning("tokens are estimated", model=model.id, error=str(error))
        return Estimate()


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
