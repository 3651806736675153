"""The lab as a program sees it."""

from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any, Self
from uuid import UUID

import numpy as np

from lab.client.address import Address
from lab.client.answer import Answer, raise_failure
from lab.client.catalog import Catalog
from lab.client.conversations import Conversations
from lab.client.documents import Documents
from lab.client.evals import Evals, Schedules
from lab.client.facts import Facts
from lab.client.files import Files
from lab.client.http import Http
from lab.client.images import Images, Source, bytes_of
from lab.client.memories import Memories
from lab.client.profiles import Profiles
from lab.client.requests import checked
from lab.client.research import Research
from lab.client.residency import Residents
from lab.client.runs import Runs
from lab.client.settings import Keys, UserSettings
from lab.client.speech import Audio
from lab.client.tools import Tools
from lab.client.web import Web
from lab.errors import InputError
from lab.protocols import EmbeddingKind, FloatArray
from lab.schemas.caller import Caller
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.disconnect import Disconnect
from lab.schemas.embedding_list import EmbeddingList
from lab.schemas.embeddings_request import EmbeddingsRequest
from lab.schemas.event import Event
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.message_image import MessageImage
from lab.schemas.model_card import ModelCard
from lab.schemas.receipt import Receipt
from lab.schemas.rerank_request import RerankRequest
from lab.schemas.rerank_response import RerankResponse
from lab.schemas.rerank_result import RerankResult
from lab.schemas.role import Role
from lab.schemas.task import Task
from lab.schemas.tool import Tool
from lab.schemas.usage_day import UsageDay
from lab.schemas.window import Window
from lab.schemas.window_request import WindowRequest


class Lab:
    """
    A client of the lab; made by `connect`. Everything it does is awaited.

    Parameters
    ----------
    address : Future of Address
        Where the API is.
    close : callable
        What to do when the client is closed.

    Attributes
    ----------
    conversations, memories, facts, documents, files, images, tools, profiles
        What the user owns.
    config, keys, evals, schedules
        And has set up.
    runs
        What was asked: followed, paused, cancelled.
    catalog
        The models of the lab.
    residents
        The models in memory, and who uses them.
    audio, transcribe, speak
        Speech both ways: `Audio`.
    lease
        Memory of a device for this program's own use: `Residents.lease`.
    web
        Pages of the web, which the lab reads and searches.
    research
        Questions that are answered by pages of the web, with citations.
    search_web, read_page
        The shortest ways there: `Web.search` and `Web.read_page`.

    Examples
    --------
    In a notebook of the lab::

        lab = connect()
        print(await lab.chat("Hello!"))
    """

    def __init__(
        self, address: "Future[Address]", close: Callable[[], None] = lambda: None
    ) -> None:
        self._http = http = Http(address)
        self._close = close
        self.conversations = Conversations(http)
        self.memories = Memories(http)
        self.facts = Facts(http)
        self.documents = Documents(http)
        self.files = Files(http)
        self.images = Images(http)
        self.audio = Audio(http)
        self.transcribe = self.audio.transcribe
        self.speak = self.audio.speak
        self.tools = Tools(http)
        self.config = UserSettings(http)
        self.keys = Keys(http)
        self.evals = Evals(http)
        self.schedules = Schedules(http)
        self.runs = Runs(http)
        self.profiles = Profiles(http)
        self.catalog = Catalog(http)
        self.residents = Residents(http)
        self.lease = self.residents.lease
        self.web = Web(http)
        self.research = Research(http)
        self.search_web = self.web.search
        self.read_page = self.web.read_page

    async def chat(
        self, message: str | Sequence[ChatMessage], *, model: str | None = None, **options: Any
    ) -> Answer:
        """
        Return the answer to a message; takes what `stream` takes.

        Raises
        ------
        LabError
            What went wrong, as the class that the lab raised.
        """
        async with aclosing(self.stream(message, model=model, **options)) as events:
            return Answer.of([raise_failure(event) async for event in events])

    async def stream(
        self,
        message: str | Sequence[ChatMessage],
        *,
        model: str | None = None,
        conversation: UUID | None = None,
        workflow: str | None = None,
        images: Sequence[Source] = (),
        tools: Sequence[Tool] = (),
        store: bool = True,
        memory: bool | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        on_disconnect: str = "cancel",
        **parameters: Any,
    ) -> AsyncGenerator[Event, None]:
        """
        Yield the events of an answer as they happen; the last says how it ended.

        Closing the generator stops the answer, unless it shall go on.

        Parameters
        ----------
        message : str or sequence of ChatMessage
            What to ask. Without a conversation, a sequence is the whole history.
        model : str, optional
            Profile or model; by default the user's.
        conversation : UUID, optional
            The stored conversation to go on with.
        workflow : str, optional
            How to answer: `chat`, `planning`, `analysis`, `image`, or `auto` for what fits; by
            default as the profile or the user's setting says.
        images : sequence of Picture, path, http(s) address or bytes
            Pictures that come with a message in text, for a model that sees. The lab fetches what
            is at an address.
        tools : sequence of Tool
            Tools of the caller that the model may call; the caller runs them. Those of the lab are
            named by a setting: `settings={"tools": {"enabled": ["calculator"]}}`.
        store : bool
            Keep the turn in the conversation.
        memory : bool, optional
            Put memories before the model; by default the user's setting.
        settings : mapping, optional
            Settings to try instead of the user's, by section.
        on_disconnect : {"cancel", "continue"}
            What becomes of the answer when nobody listens. One that goes on is followed through
            lost connections, and by others with `runs.follow`; `runs.cancel` stops it.
        **parameters
            Of `GenerationParameters`, e.g. `seed`, `temperature`, `max_new_tokens`.

        Raises
        ------
        LabError
            If the lab refuses the turn; what fails later is the last event.
        """
        turn = _turn(
            message,
            parameters,
            profile=model,
            conversation_id=conversation,
            workflow=workflow,
            images=images,
            tools=tools,
            store=store,
            memory=memory,
            settings=settings or {},
            on_disconnect=on_disconnect,
        )
        goes_on = turn.on_disconnect is Disconnect.continue_
        events = self.runs.answer(turn) if goes_on else self._http.events("/v1/turns", turn)
        async with aclosing(events):
            async for event in events:
                yield event

    async def window(
        self,
        message: str | Sequence[ChatMessage],
        *,
        model: str | None = None,
        conversation: UUID | None = None,
        tools: Sequence[Tool] = (),
        memory: bool | None = None,
        context_length: int | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> Window:
        """
        Return what the model would see for a message; nothing is generated, and nothing stored.

        Parameters
        ----------
        message, model, conversation, tools, memory, settings, **parameters
            As `stream` takes them.
        context_length : int, optional
            Tokens of the window; by default the model's own.

        Raises
        ------
        ContextLengthError
            If system prompt and question alone do not fit.

        Examples
        --------
        Whether more memories would help::

            await lab.window("Where do I live?", memory=True, settings={"memory": {"top_k": 30}})
        """
        turn = _turn(
            message,
            parameters,
            profile=model,
            conversation_id=conversation,
            tools=tools,
            memory=memory,
            settings=settings or {},
        )
        request = checked(WindowRequest, turn=turn, context_length=context_length)
        return await self._http.fetch("POST", "/v1/turns/window", Window, request)

    async def models(self) -> list[ModelCard]:
        """Return what `model` may name; the first is the lab's default."""
        return await self.catalog.list()

    async def use(self, model: str, *, role: str = "primary") -> ModelCard:
        """
        Let a model or profile have a role from now on, for the user alone.

        Parameters
        ----------
        model : str
            As `models` names it; it must chat.
        role : str
            `primary` answers when nothing else is asked for, `summary` writes summaries, `analysis`
            titles and facts. `config.reset("roles.ROLE")` ends it.

        Raises
        ------
        UnknownModelError
            If there is no such model.
        """
        card = await self.catalog.get(model)
        if card.task is not Task.chat:
            raise InputError(
                f"`{model}` does {card.task}, and every role is for a model that chats."
            )
        await self.config.set(f"roles.{role}", model)
        return card

    async def embed(
        self,
        texts: str | Sequence[str],
        *,
        kind: EmbeddingKind = "document",
        dimensions: int | None = None,
    ) -> FloatArray:
        """
        Return unit vectors of shape (N, D), in the order of `texts`.

        Parameters
        ----------
        texts : str or sequence of str
            What to embed.
        kind : {"query", "document"}
            A question, or what is to be found by one: some models want another prefix for each.
        dimensions : int, optional
            D, of a model that was trained to have its vectors cut; by default the model's own.
        """
        given = [texts] if isinstance(texts, str) else list(texts)
        request = checked(EmbeddingsRequest, input=given, input_type=kind, dimensions=dimensions)
        found = await self._http.fetch("POST", "/v1/embeddings", EmbeddingList, request)
        return np.array([row.embedding for row in found.data], np.float32)

    async def rerank(
        self, query: str, documents: Sequence[str], *, top_n: int | None = None
    ) -> list[RerankResult]:
        """
        Return how well documents answer a question, the best first.

        Parameters
        ----------
        query : str
            The question.
        documents : sequence of str
            What is to be ranked; a result names its place here as `index`.
        top_n : int, optional
            Return so many of the best; by default all.

        Raises
        ------
        ConfigError
            If the lab has no reranker.
        """
        request = checked(RerankRequest, query=query, documents=list(documents), top_n=top_n)
        found = await self._http.fetch("POST", "/v1/rerank", RerankResponse, request)
        return found.results

    async def receipt(self, run_id: UUID) -> Receipt:
        """Return what was put before the model in a run, and why."""
        return await self._http.fetch("GET", f"/v1/runs/{run_id}/receipt", Receipt)

    async def usage(self, days: int = 30, *, everybody: bool = False) -> list[UsageDay]:
        """
        Return what models were used for today and on the days before, by day and model.

        Parameters
        ----------
        days : int
            How many, today included; days are those of UTC.
        everybody : bool
            Of all users, for administrators.
        """
        return await self._http.fetch(
            "GET", "/v1/usage", list[UsageDay], days=days, everybody=everybody
        )

    async def me(self) -> Caller:
        """Return who the token belongs to and what it may do."""
        return await self._http.fetch("GET", "/v1/me", Caller)

    async def export(self) -> bytes:
        """Return all that is stored of the user: a zip of JSON Lines and executed notebooks."""
        return await self._http.download("/v1/me/export")

    def openai(self) -> dict[str, str]:
        """Return the arguments of `openai.AsyncOpenAI` and `langchain_openai.ChatOpenAI`."""
        address = self._http.address.result()
        return {"base_url": f"{address.url}/v1", "api_key": address.token}

    async def aclose(self) -> None:
        """Close the connections, and the lab if it was started for this program alone."""
        await self._http.aclose()
        self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        address = self._http.address
        return f"<Lab at {address.result().url}>" if address.done() else "<Lab, starting>"


def _turn(
    message: str | Sequence[ChatMessage],
    parameters: dict[str, Any],
    images: Sequence[Source] = (),
    **asked: Any,
) -> ChatTurn:
    if isinstance(message, str):
        pictures = [_picture(one) for one in images]
        message = [ChatMessage(role=Role.user, content=message, images=pictures)]
    elif images:
        raise InputError("`images` come with a message in text; put them into the messages.")
    return checked(ChatTurn, messages=message, parameters=_parameters(parameters), **asked)


def _picture(source: Source) -> MessageImage:
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        return MessageImage(data=source)
    return MessageImage(data=b64encode(bytes_of(source)).decode())


def _parameters(given: dict[str, Any]) -> GenerationParameters | None:
    values = {name: value for name, value in given.items() if value is not None}
    return checked(GenerationParameters, **values) if values else None
