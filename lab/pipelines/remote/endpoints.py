"""The servers elsewhere: which models they have, and leases on those."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from lab.errors import LabError, RemoteError, UnknownModelError
from lab.pipelines.remote.chat import RemoteChat
from lab.pipelines.remote.client import RemoteClient
from lab.pipelines.remote.counting import Counter, counter_of
from lab.pipelines.remote.names import RemoteNames
from lab.pipelines.tally import Tally
from lab.schemas.model import Model
from lab.schemas.remote_endpoint import RemoteEndpoint
from lab.schemas.remote_kind import RemoteKind
from lab.schemas.task import Task

FRESH_S: Final = 60.0
"""Seconds that what a server listed is believed."""

LIST_WAIT_S: Final = 2.0
"""Seconds that who wants a list waits for servers; what comes later is in the next one."""

LENGTHS: Final = (
    "max_model_len",
    "context_length",
    "context_window",
    "max_context_length",
)
"""Where servers write the window of a model that they list."""

log = structlog.get_logger(__name__)


class Endpoints:
    """
    The servers of a process; belongs to one event loop.

    Parameters
    ----------
    names : RemoteNames
        Their models.
    tally_of : callable
        Takes a model's id, returns where its tokens are counted.
    """

    def __init__(self, names: RemoteNames, tally_of: Callable[[str], Tally]) -> None:
        self._names = names
        self._tally_of = tally_of
        self._clients: dict[str, RemoteClient] = {}
        self._chats: dict[str, RemoteChat] = {}
        self._counters: dict[str, Counter] = {}
        self._listed_at: dict[str, float] = {}
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.leases = 0

    @property
    def active(self) -> dict[str, int]:
        """Answers under way, by endpoint."""
        found = dict.fromkeys(self._names.endpoints, 0)
        for model_id, chat in self._chats.items():
            found[model_id.partition("/")[0]] += chat.active
        return found

    @asynccontextmanager
    async def lease(self, model: Model) -> AsyncIterator[RemoteChat]:
        """
        Use a model.

        Raises
        ------
        UnknownModelError
            If its server lists it not.
        RemoteError
            If the server cannot be asked, or its window is told nowhere.
        """
        async with self._opening[model.id]:
            chat = self._chats.get(model.id) or await self._open(model)
        self.leases += 1
        try:
            yield chat
        finally:
            self.leases -= 1

    async def discover(self) -> None:
        """Ask the servers that name no models which they have; who is slow is not waited for."""
        for endpoint in self._names.endpoints.values():
            if not (endpoint.models or endpoint.name in self._looks or self._is_fresh(endpoint)):
                self._looks[endpoint.name] = asyncio.create_task(self._look_at(endpoint))
        if self._looks:
            await asyncio.wait(list(self._looks.values()), timeout=LIST_WAIT_S)

    async def aclose(self) -> None:
        """Hang up everywhere."""
        looks = list(self._looks.values())
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
        clients, self._clients = list(self._clients.values()), {}
        await asyncio.gather(*(client.aclose() for client in clients))

    def _is_fresh(self, endpoint: RemoteEndpoint) -> bool:
        return time.monotonic() - self._listed_at.get(endpoint.name, -FRESH_S) < FRESH_S

    async def _look_at(self, endpoint: RemoteEndpoint) -> None:
        try:
            await self._cards(endpoint)
        except LabError as error:
            self._names.listed.pop(endpoint.name, None)
            log.warning("a server lists no models", server=endpoint.name, error=str(error))
        finally:
            self._listed_at[endpoint.name] = time.monotonic()
            self._looks.pop(endpoint.name, None)

    async def _open(self, model: Model) -> RemoteChat:
        prefix, _, name = model.id.partition("/")
        endpoint = self._names.endpoints[prefix]
        cards: dict[str, dict[str, Any]] = {}
        if not endpoint.models:
            cards = await self._cards(endpoint)
            if name not in cards:
                raise UnknownModelError(model.id, [f"{prefix}/{other}" for other in cards])
        length = endpoint.context_length or await self._length(endpoint, name, cards)
        counter = self._counters.get(prefix)
        if counter is None or endpoint.tokenizer is None:  # models have rates of their own
            counter = await asyncio.to_thread(counter_of, endpoint)
        self._counters[prefix] = counter
        chat = self._chats[model.id] = RemoteChat(
            model.model_copy(update={"context_length": length}),
            name,
            client=self._client(endpoint),
            counter=counter,
            tally=self._tally_of(model.id),
        )
        return chat

    def _client(self, endpoint: RemoteEndpoint) -> RemoteClient:
        if endpoint.name not in self._clients:
            self._clients[endpoint.name] = RemoteClient(endpoint)
        return self._clients[endpoint.name]

    async def _cards(self, endpoint: RemoteEndpoint) -> dict[str, dict[str, Any]]:
        """Return what a server says of its models, by name."""
        listed = await self._client(endpoint).look("models")
        data = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(data, list):
            raise RemoteError(
                f"The server `{endpoint.name}` does not list its models; name them by `models` of "
                "the endpoint in remotes.endpoints."
            )
        named = [
            card for card in data if isinstance(card, dict) and isinstance(card.get("id"), str)
        ]
        cards = {card["id"]: card for card in named}
        chats = {name: card for name, card in cards.items() if card.get("task") != Task.embedding}
        self._names.listed[endpoint.name] = sorted(chats)
        return chats

    async def _length(
        self, endpoint: RemoteEndpoint, name: str, cards: dict[str, dict[str, Any]]
    ) -> int:
        """Return the window of a model, as its server says it."""
        found = None
        if endpoint.kind is not RemoteKind.ollama:  # lists none, and cuts what is longer unsaid
            card = (cards or await self._cards(endpoint)).get(name, {})
            found = length_of(card) or await self._slot_length(endpoint) or trained_length(card)
        if found is None:
            raise RemoteError(
                f"The server `{endpoint.name}` does not say how many tokens the window of "
                f"`{name}` holds; set `context_length` of the endpoint in remotes.endpoints."
            )
        return found

    async def _slot_length(self, endpoint: RemoteEndpoint) -> int | None:
        """Return what an older llama.cpp says, elsewhere than where it lists the model."""
        if endpoint.kind is not RemoteKind.llama_cpp:
            return None
        try:
            props = await self._client(endpoint).look("/props")
        except RemoteError:  # it may be closed off
            return None
        settings = props.get("default_generation_settings") if isinstance(props, dict) else None
        return first_length([settings.get("n_ctx")] if isinstance(settings, dict) else [])


def length_of(card: dict[str, Any]) -> int | None:
    """
    Return the window that a server lists with a model.

    >>> length_of({"id": "m", "meta": {"n_ctx": 4096, "n_ctx_train": 131072}})
    4096
    """
    return first_length([*(card.get(key) for key in LENGTHS), _meta(card).get("n_ctx")])


def trained_length(card: dict[str, Any]) -> int | None:
    """Return the window that a model was trained for, where its server lists that."""
    return first_length([_meta(card).get("n_ctx_train")])


def first_length(values: Sequence[Any]) -> int | None:
    """Return the first that is a length."""
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def _meta(card: dict[str, Any]) -> dict[str, Any]:
    meta = card.get("meta")
    return meta if isinstance(meta, dict) else {}
