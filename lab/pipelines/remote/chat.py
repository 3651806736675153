"""The chat pipeline over a model that another server runs."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Final, cast
from uuid import UUID

from lab.errors import ContextLengthError, InputError, RemoteError
from lab.pipelines.bias import check_bias
from lab.pipelines.remote.answer import Answer
from lab.pipelines.remote.client import RemoteClient
from lab.pipelines.remote.counting import Counter
from lab.pipelines.remote.dialects import DIALECTS
from lab.pipelines.remote.forms import checked_form, why_unkept
from lab.pipelines.remote.messages import wire_message, wire_tools
from lab.pipelines.remote.several import several
from lab.pipelines.split import CALLING, THINK, Splitter
from lab.pipelines.tally import Tally
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.finish_reason import FinishReason
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.prompt_tokens_details import PromptTokensDetails
from lab.schemas.tool import Tool
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_choice import ToolChoice
from lab.schemas.tool_choice_mode import ToolChoiceMode
from lab.schemas.usage import Usage

WHOLE: Final = frozenset({FinishReason.stop, FinishReason.tool_calls})
"""What is said of an answer that was not cut off."""


class RemoteChat:
    """
    Answer by a server that speaks OpenAI's protocol.

    Parameters
    ----------
    model : Model
        Its entry in the catalog, with its context length.
    name : str
        What the server calls it.
    client : RemoteClient
        The way to the server.
    counter : Counter
        Counts the tokens of prompts.
    tally : Tally, optional
        Where its tokens are counted.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        *,
        client: RemoteClient,
        counter: Counter,
        tally: Tally | None = None,
    ) -> None:
        self.model = model
        self.active = 0
        self._name = name
        self._client = client
        self._counter = counter
        self._tally = tally or Tally()
        self._dialect = DIALECTS[client.endpoint.kind]

    async def prepare(self, messages: Sequence[ChatMessage]) -> None:
        """Do nothing: the server looks at what it is sent."""

    def count_tokens(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        """Return the tokens of the prompt, rather too many than too few."""
        return self._counter.prompt(messages, tools)

    def count_text(self, text: str) -> int:
        """Return the tokens of a text alone: exact with a tokenizer, else rather too many."""
        return self._counter.text(text)

    def stream(
        self,
        messages: Sequence[ChatMessage],
        parameters: GenerationParameters,
        *,
        tools: Sequence[Tool] = (),
        owner: UUID | None = None,
    ) -> AsyncIterator[ChatDelta]:
        """Yield the answer as it comes; closing the iterator hangs up at once."""
        if parameters.n == 1:
            return self._one(messages, parameters, tools)
        each = [
            parameters.model_copy(
                update={"n": 1, "seed": None if parameters.seed is None else parameters.seed + i}
            )
            for i in range(parameters.n)
        ]
        answers = [self._one(messages, one, tools) for one in each]
        return several(answers, at_once=len(answers) if self._dialect.own_seeds else 1)

    async def _one(
        self,
        messages: Sequence[ChatMessage],
        parameters: GenerationParameters,
        tools: Sequence[Tool],
    ) -> AsyncGenerator[ChatDelta, None]:
        body = self._body(messages, parameters, tools)
        given = self._given(tools, parameters.tool_choice)
        form = await asyncio.to_thread(checked_form, parameters, given)
        if form is not None and form.is_call:
            body.pop("response_format", None)
        answer = Answer(
            parameters.top_logprobs,
            parameters.stop if self._dialect.stops_here else (),
            _splitter(tools) if self._dialect.splits_here else None,
        )
        content = ""
        started, first = time.perf_counter(), None
        self.active += 1
        try:
            chunks = cast("AsyncGenerator[dict[str, Any]]", self._client.chunks(body))
            async with aclosing(chunks):
                async for chunk in chunks:
                    for delta in self._taken(answer, chunk):
                        first = first or time.perf_counter()
                        content += delta.content
                        yield delta
            self._must_be_whole(answer)
            rest = answer.finish()
            usage = self._usage(answer, messages, tools)
            if form is not None and answer.finish_reason in WHOLE:
                content += "".join(delta.content for delta in rest)
                calls = [delta.tool_call for delta in rest if delta.tool_call is not None]
                await self._must_keep(parameters, given, content, calls)
            for delta in rest:
                yield delta
        finally:
            self.active -= 1
        now = time.perf_counter()
        times = {
            "first_token_ms": ((first or now) - started) * 1000,
            "total_ms": (now - started) * 1000,
        }
        yield ChatDelta(finish_reason=answer.finish_reason, usage=usage.model_copy(update=times))

    def _body(
        self,
        messages: Sequence[ChatMessage],
        parameters: GenerationParameters,
        tools: Sequence[Tool],
    ) -> dict[str, Any]:
        if not messages:
            raise InputError("There is nothing to answer; send at least one message with a text.")
        server = self._client.endpoint.name
        if not self._dialect.heeds_window:
            room = self._room(messages, tools)
            most = min(parameters.max_new_tokens or room, room)
            parameters = parameters.model_copy(update={"max_new_tokens": most})
        check_bias(self.model.id, parameters.logit_bias, self._counter.n_tokens)
        body = {
            "model": self._name,
            "messages": [wire_message(message) for message in messages],
            "stream": True,
            **self._dialect.wire(parameters, server=server),
        }
        if not self._dialect.tells_usage:
            body["stream_options"] = {"include_usage": True}
        if given := self._given(tools, parameters.tool_choice):
            body["tools"] = wire_tools(given)
        return body

    def _given(self, tools: Sequence[Tool], choice: ToolChoice | None) -> Sequence[Tool]:
        """Return the tools that the server is told of."""
        if choice is None or choice.mode is ToolChoiceMode.auto:
            return tools
        if choice.mode is ToolChoiceMode.none:
            return ()
        if not tools or choice.name not in {None, *(tool.name for tool in tools)}:
            names = ", ".join(tool.name for tool in tools) or "none"
            raise InputError(
                f"`tool_choice` wants `{choice.name or 'a tool'}` called, and the tools that came "
                f"are: {names}."
            )
        if choice.name is None or self._dialect.takes_names:
            return tools
        return [tool for tool in tools if tool.name == choice.name]

    def _room(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> int:
        """Return the tokens that the window leaves for an answer."""
        n_tokens, length = self.count_tokens(messages, tools), self.model.context_length or 0
        if n_tokens >= length:
            raise ContextLengthError(n_tokens, length)
        return length - n_tokens

    def _taken(self, answer: Answer, chunk: dict[str, Any]) -> list[ChatDelta]:
        try:
            return answer.take(chunk)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise RemoteError(
                f"The server `{self._client.endpoint.name}` sent what is no piece of a chat "
                f"completion ({type(error).__name__}: {error}); {self._client.advice.url}."
            ) from error

    def _must_be_whole(self, answer: Answer) -> None:
        """Raise where an answer ended without its end."""
        if answer.finish_reason is None:
            why = f"it says `{answer.failed}`" if answer.failed else "its last piece did not come"
            raise RemoteError(
                f"The server `{self._client.endpoint.name}` broke off its answer ({why}); what "
                "came until then is no whole answer. Send it again."
            )

    async def _must_keep(
        self,
        parameters: GenerationParameters,
        tools: Sequence[Tool],
        content: str,
        calls: Sequence[ToolCall],
    ) -> None:
        """Raise where a whole answer does not keep to the form that was asked for."""
        if why := await asyncio.to_thread(why_unkept, parameters, tools, content, calls):
            raise RemoteError(
                f"The server `{self._client.endpoint.name}` gave what does not keep to the schema "
                f"({why}): it does not enforce all of it. Choose a model of another engine, such "
                "as the lab's own, which does, or leave out what it does not enforce."
            )

    def _usage(
        self, answer: Answer, messages: Sequence[ChatMessage], tools: Sequence[Tool]
    ) -> Usage:
        """Return what an answer cost, and let the counter learn from it."""
        counts, details = answer.counts, None
        if counts is None:
            prompt = self.count_tokens(messages, tools)
            written = sum(map(self.count_text, answer.texts))
        else:
            prompt, written = counts.prompt_tokens, counts.completion_tokens
            self._counter.learn(messages, tools, prompt)
            if counts.cached_tokens is not None:
                details = PromptTokensDetails(cached_tokens=counts.cached_tokens)
        self._tally.prompt_tokens += prompt
        self._tally.generated_tokens += written
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=written,
            total_tokens=prompt + written,
            prompt_tokens_details=details,
            estimated=counts is None,
        )


def _splitter(tools: Sequence[Tool]) -> Splitter:
    """Return what tells reasoning, calls and content apart; calls only where tools were given."""
    markers = (THINK, *CALLING) if tools else (THINK,)
    return Splitter(markers, names=[tool.name for tool in tools])
