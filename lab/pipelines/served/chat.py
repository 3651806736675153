"""The chat pipeline over a server in a process of the lab's."""

import re
import secrets
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast
from uuid import UUID

import httpx
import structlog
from pydantic import SecretStr

from lab.errors import ModelLoadError, UnavailableError
from lab.pipelines.devices import torch_device
from lab.pipelines.remote.chat import RemoteChat
from lab.pipelines.remote.client import RemoteClient
from lab.pipelines.remote.counting import Counter, Estimate, counter_of
from lab.pipelines.remote.endpoints import length_of
from lab.pipelines.remote.failures import OF_THE_LAB
from lab.pipelines.served.child import Child, ChildSpec, State
from lab.pipelines.tally import Tally
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.remote_endpoint import RemoteEndpoint
from lab.schemas.remote_kind import RemoteKind
from lab.schemas.tool import Tool

OURS: Final = ("LAB_", "JUPYTERHUB_")
"""Variables that begin so hold the lab's secrets, and are none of the server's business."""

log = structlog.get_logger(__name__)


class ServedChat:
    """
    Answer by a server of the lab's own; its process ends when this is closed.

    Parameters
    ----------
    chat : RemoteChat
        The way to it.
    child : Child
        Its process.
    n_bytes : int
        Memory of the device that lies with it.
    """

    def __init__(self, chat: RemoteChat, child: Child, n_bytes: int) -> None:
        self._chat = chat
        self._child = child
        self._n_bytes = n_bytes
        self.model = chat.model.model_copy(update={"loaded": True})

    @property
    def n_bytes(self) -> int:
        """Bytes that lie with it; 0 when it is closed."""
        return 0 if self._child.state is State.CLOSED else self._n_bytes

    @property
    def weight_bytes(self) -> None:
        """Nobody here knows: the server takes what it was given, and shares it out itself."""
        return None

    @property
    def active(self) -> int:
        """Answers under way."""
        return self._chat.active

    async def prepare(self, messages: Sequence[ChatMessage]) -> None:
        """Do nothing: the server looks at what it is sent."""

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
        """Give nothing back: the server keeps what it was given."""

    def close(self) -> None:
        """End the process."""
        self._child.close()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server of the lab's answers, and to whom: a free port and a key made for it."""

    port: int = field(default_factory=lambda: free_port())
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Server:
    """
    What serves a model.

    Attributes
    ----------
    kind : RemoteKind
        What it takes.
    address : Address
        Where it answers.
    command : sequence of str
        The program and its arguments.
    environment : mapping
        All of its variables.
    n_bytes : int
        Memory of the device that lies with it.
    tokenizer : str
        Hugging Face id or folder of what counts the model's tokens; "" to estimate them.
    length : int, optional
        Tokens of the model's window; None = as it says itself.
    start_timeout_s, stop_timeout_s : float
        Seconds in which it has to answer and to end.
    timeout_s : float
        Seconds without a piece of an answer after which that is given up.
    """

    kind: RemoteKind
    address: Address
    command: Sequence[str]
    environment: Mapping[str, str]
    n_bytes: int
    tokenizer: str
    length: int | None
    start_timeout_s: float
    stop_timeout_s: float
    timeout_s: float


def serve_chat(
    model: Model, server: Server, tally: Tally | None, lab_closes: threading.Event | None
) -> ServedChat:
    """
    Start the server of a model; blocks until it answers.

    Parameters
    ----------
    model : Model
        Its entry in the catalog.
    server : Server
        What serves it.
    tally : Tally, optional
        Where its tokens are counted.
    lab_closes : threading.Event, optional
        When it is set, the start is given up.

    Raises
    ------
    ModelLoadError
        If it does not start.
    """
    endpoint = RemoteEndpoint(
        name=_endpoint_name(model.id),
        url=f"{server.address.url}/v1",
        kind=server.kind,
        key=SecretStr(server.address.key),
        timeout_s=server.timeout_s,
        retries=0,
    )
    child = Child(
        ChildSpec(
            name=model.id,
            command=server.command,
            environment=server.environment,
            health_url=f"{server.address.url}/health",
            start_timeout_s=server.start_timeout_s,
            stop_timeout_s=server.stop_timeout_s,
        ),
        lab_closes,
    )
    child.start()
    try:
        length = server.length or _served_length(model, server.address)
        chat = RemoteChat(
            model.model_copy(update={"context_length": length}),
            model.id,
            # Connections are not kept: no event loop is there to close them when the process ends.
            client=RemoteClient(endpoint, keep_alive=False, advice=OF_THE_LAB),
            counter=_counter(model, server.tokenizer, endpoint),
            tally=tally,
        )
    except BaseException:
        child.close()
        raise
    return ServedChat(chat, child, server.n_bytes)


def child_environment(
    environ: Mapping[str, str], device: str, n_devices: int = 1
) -> dict[str, str]:
    """
    Return the variables of a server's process: ours without the lab's secrets, and its devices.

    Parameters
    ----------
    environ : mapping
        The variables of this process.
    device : str
        Its first device, as torch names it.
    n_devices : int
        How many it takes.
    """
    theirs = {name: value for name, value in environ.items() if not name.startswith(OURS)}
    place = torch_device(device)
    if place.type == "cuda":
        first = place.index or 0
        visible = [part for part in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
        numbers = range(first, first + n_devices)
        theirs["CUDA_VISIBLE_DEVICES"] = ",".join(
            visible[i] if i < len(visible) else str(i) for i in numbers
        )
    return theirs


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _endpoint_name(model_id: str) -> str:
    """Return what errors call a server: the like of its name, in letters that such names have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model_id).lstrip("._-")[:64] or "served"


def _served_length(model: Model, address: Address) -> int:
    """Return the window that the server says the model has."""
    response = httpx.get(
        f"{address.url}/v1/models",
        headers={"Authorization": f"Bearer {address.key}"},
        timeout=30,
        trust_env=False,
    )
    cards = response.json().get("data") or [{}] if response.is_success else [{}]
    length = length_of(cards[0])
    if length is None:
        raise ModelLoadError(
            f"The server of `{model.id}` does not say how many tokens its window holds; set "
            "`max_length` of the model."
        )
    return length


def _counter(model: Model, tokenizer: str, endpoint: RemoteEndpoint) -> Counter:
    """Return what counts tokens by the model's own tokenizer, or estimates where it has none."""
    folder = Path(tokenizer).expanduser()
    if not tokenizer or (folder.is_dir() and not (folder / "tokenizer.json").is_file()):
        return Estimate()
    try:
        return counter_of(endpoint.model_copy(update={"tokenizer": tokenizer}))
    except ModelLoadError as error:
        log.warning("tokens are estimated", model=model.id, error=str(error))
        return Estimate()
