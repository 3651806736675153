"""The chat pipeline: messages in, deltas out, over a model of transformers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from typing import Any
from uuid import UUID

import torch
from jinja2 import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lab.errors import ContextLengthError, InputError, LabError, ModelLoadError
from lab.pipelines.batch import Batch
from lab.pipelines.bias import check_bias
from lab.pipelines.constraint import AfterThinking, Constraint
from lab.pipelines.engine import Engine, Mailbox
from lab.pipelines.form import Form, form_of, shown_tools
from lab.pipelines.grammar import Grammars
from lab.pipelines.guards import Watch
from lab.pipelines.memory import network_bytes
from lab.pipelines.request import Outcome, Request
from lab.pipelines.room import Limits, Room
from lab.pipelines.sampling import Sampler
from lab.pipelines.sight import Seen, Sight
from lab.pipelines.split import CALL, CALLING, MARKERS, THINKING, Splitter
from lab.pipelines.tally import Tally
from lab.pipelines.text import Detokeniser, StopMatcher
from lab.pipelines.vocabulary import Vocabulary
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.tool import Tool
from lab.schemas.usage import Usage

KEPT_PROMPTS = 16
"""Token ids of this many recent texts are kept."""


class TransformersChat:
    """
    Answer with a causal language model; all answers share one running batch.

    Parameters
    ----------
    model : Model
        Its entry in the catalog.
    network : PreTrainedModel
        The weights.
    tokenizer : PreTrainedTokenizerBase
        A tokenizer with a chat template.
    config : ChatConfig
        Sizes of the batch and its queue.
    tally : Tally, optional
        Where its tokens are counted.
    sight : Sight, optional
        How it sees, if it does.
    room : Room, optional
        What weights, keys and values together may take.
    """

    def __init__(
        self,
        model: Model,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        config: ChatConfig,
        tally: Tally | None = None,
        sight: Sight | None = None,
        room: Room | None = None,
    ) -> None:
        if not tokenizer.chat_template:
            raise ModelLoadError(
                f"`{model.id}` has no chat template, so it cannot chat; "
                "choose an instruction-tuned model, whose tokenizer brings one."
            )
        text_config = network.config.get_text_config(decoder=True)
        self.context_length = int(text_config.max_position_embeddings)
        self.model = model.model_copy(
            update={"context_length": self.context_length, "loaded": True}
        )
        self._network = network
        self._weight_bytes = network_bytes(network)
        self._tokenizer = tokenizer
        self._vocabulary = Vocabulary(tokenizer)
        self._config = config
        self._sight = sight
        self._room = room or Room()
        self._limits = Limits(config.max_streams, config.prefill_tokens)
        # The prompt of an answer was counted while its window was built.
        self._encode = lru_cache(KEPT_PROMPTS)(self._encoded)
        self.engine = Engine(
            self._new_batch,
            max_streams=config.max_streams,
            max_queue=config.max_queue,
            tally=tally or Tally(),
        )

    @property
    def n_bytes(self) -> int:
        """Bytes that weights, keys and values take now; 0 when it is closed."""
        return self._weight_bytes + self.engine.n_bytes

    @property
    def weight_bytes(self) -> int:
        """Those of them that are weights."""
        return self._weight_bytes

    async def prepare(self, messages: Sequence[ChatMessage]) -> None:
        """Look at the pictures of messages before they are counted; refuse what is none."""
        if self._sight is not None and any(message.images for message in messages):
            await asyncio.to_thread(self._sight.n_more, messages)

    def count_tokens(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        """Return the tokens of the prompt, chat template and generation prompt included."""
        n_tokens = len(self._encode(self._prompt(messages, tools, enable_thinking=False)))
        return n_tokens + (self._sight.n_more(messages) if self._sight else 0)

    def count_text(self, text: str) -> int:
        """Return the tokens of a text alone."""
        return self._measure(text)

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        parameters: GenerationParameters,
        *,
        tools: Sequence[Tool] = (),
        owner: UUID | None = None,
    ) -> AsyncIterator[ChatDelta]:
        """Yield the answer as it is generated; closing the iterator frees its place at once."""
        tools = shown_tools(parameters, tools)
        requests = await self._requests(messages, parameters, tools, owner)
        mailbox, usages = Mailbox(), list[Usage]()
        try:
            for request in requests:
                self.engine.submit(request, mailbox)
            while len(usages) < len(requests):
                for delta in merged(await mailbox.take()):
                    if delta.usage is None:
                        yield delta
                        continue
                    usages.append(delta.usage)
                    usage = total(usages) if len(usages) == len(requests) else None
                    yield delta.model_copy(update={"usage": usage})
        finally:
            for request in requests:
                self.engine.cancel(request)

    def rest(self) -> None:
        """Give back the memory of keys and values, unless answers are under way."""
        self.engine.rest()

    def close(self) -> None:
        """End the engine's thread, and give the memory back."""
        self.engine.close()
        self._weight_bytes = 0
        if self._sight is not None:
            self._sight.close()
        del self._network  # what is still counted needs it not

    def _new_batch(self, flush: Callable[[], None]) -> Batch:
        if self._config.threads:
            torch.set_num_threads(self._config.threads)
        if self._network.device.index is not None:
            torch.accelerator.set_device_index(self._network.device.index)  # of this thread
        return Batch(
            self._network,
            limits=self._limits,
            kept_prompts=self._config.kept_prompts,
            room=replace(
                self._room,
                may_take=self._may_take,
                could_take=lambda n_bytes: self._room.could_take(self._weight_bytes + n_bytes),
                learn=self._learn,
            ),
            flush=flush,
        )

    def _may_take(self, n_bytes: int, insist: bool) -> bool:
        """Return whether keys and values may come to some bytes."""
        return self._room.may_take(self._weight_bytes + n_bytes, insist)

    def _learn(self, limits: Limits) -> None:
        """Do less at once from now on, after a rest too."""
        self._limits = limits
        self._room.learn(limits)

    async def _requests(
        self,
        messages: Sequence[ChatMessage],
        parameters: GenerationParameters,
        tools: Sequence[Tool],
        owner: UUID | None,
    ) -> list[Request]:
        """Return a request for each answer that is asked for."""
        form = form_of(parameters, tools)
        prompt = self._prompt(messages, tools, enable_thinking=parameters.enable_thinking)
        thinking = next((m for m in THINKING if prompt.rstrip().endswith(m)), "")
        calling = form is not None and form.is_call
        if calling and CALL in self._template and not thinking:
            prompt += f"{CALL}\n"
        seen = await self._seen(prompt, messages)
        input_ids = seen.ids
        room = self.context_length - len(input_ids)
        if room < 1:
            raise ContextLengthError(len(input_ids), self.context_length)
        check_bias(self.model.id, parameters.logit_bias, self._n_tokens)
        constraints = await self._constraints(form, parameters.n, thinking)
        return [
            Request(
                input_ids=seen.names,
                max_new_tokens=min(parameters.max_new_tokens or room, room),
                eos_ids=self._eos_ids,
                sampler=Sampler.of(parameters, input_ids, index, constraint),
                detokeniser=Detokeniser(self._decode, self._hidden_ids),
                stops=StopMatcher(parameters.stop),
                splitter=self._splitter(form, thinking, tools),
                deliver=self.engine.deliver,
                describe=self._vocabulary.describe,
                owner=owner,
                embed=seen.embed,
                n_pictured=seen.n_pictured,
                index=index,
                watch=self._watch(parameters, is_json=form is not None),
            )
            for index, constraint in enumerate(constraints)
        ]

    def _watch(self, parameters: GenerationParameters, *, is_json: bool) -> Watch | None:
        """Return the guards of one answer."""
        if parameters.guards is None:
            return None
        is_drawn = parameters.temperature > 0
        return Watch(parameters.guards, n_tokens=self._n_tokens, is_json=is_json, is_drawn=is_drawn)

    async def _constraints(
        self, form: Form | None, n: int, thinking: str
    ) -> Sequence[Constraint | None]:
        """Return what each of `n` answers is held to."""
        if form is None:
            return [None] * n
        matchers = [await asyncio.to_thread(self._grammars.matcher, form.schema) for _ in range(n)]
        if not thinking:
            return [Constraint(matcher) for matcher in matchers]
        end, width = THINKING[thinking], self._n_tokens
        return [
            AfterThinking(matcher, end, self._vocabulary, width, self._eos_ids)
            for matcher in matchers
        ]

    def _splitter(self, form: Form | None, thinking: str, tools: Sequence[Tool]) -> Splitter:
        """Return what tells reasoning, calls and content of one answer apart."""
        if form is not None:
            return Splitter((), thinking=thinking, calling=form.is_call)
        # With tools, a call counts in whichever form the model writes it.
        calls = tuple(CALLING) if tools else ()
        markers = tuple(dict.fromkeys([*self._markers, *calls]))
        names = [tool.name for tool in tools]
        return Splitter(markers, thinking=thinking, names=names)

    def _prompt(
        self, messages: Sequence[ChatMessage], tools: Sequence[Tool], *, enable_thinking: bool
    ) -> str:
        if not messages:
            raise InputError("There is nothing to answer; send at least one message with a text.")
        if tools and "tools" not in self._template:
            raise InputError(
                f"The chat template of `{self.model.id}` knows no tools, and {len(tools)} came; "
                "send none or choose a model that can call tools."
            )
        try:
            prompt = self._tokenizer.apply_chat_template(
                [self._templated(message) for message in messages],
                tools=[template_tool(tool) for tool in tools] or None,
                add_generation_prompt=True,
                tokenize=False,
                enable_thinking=enable_thinking,
            )
        except TemplateError as error:
            raise InputError(
                f"The chat template of `{self.model.id}` refuses these messages: {error}"
            ) from error
        return str(prompt)

    def _templated(self, message: ChatMessage) -> dict[str, Any]:
        """Return a message as the chat template takes it: that of a model that sees, in pieces."""
        plain = template_message(message)
        if self._sight is not None:
            pictures: list[dict[str, str]] = [{"type": "image"} for _ in message.images]
            text = [{"type": "text", "text": message.content}] if message.content else []
            plain["content"] = [*pictures, *text]
        elif message.images:
            raise InputError(
                f"`{self.model.id}` reads text only, and {len(message.images)} pictures came; "
                "leave them out, or choose a model that sees."
            )
        return plain

    async def _seen(self, prompt: str, messages: Sequence[ChatMessage]) -> Seen:
        """Return a prompt with its pictures; one without any waits for nobody."""
        if self._sight is not None and any(message.images for message in messages):
            return await asyncio.to_thread(self._sight.see, prompt, messages)
        ids = self._encode(prompt)
        return Seen(ids, ids)

    def _encoded(self, prompt: str) -> list[int]:
        return self._tokenizer.encode(prompt, add_special_tokens=False)

    @cached_property
    def _measure(self) -> Callable[[str], int]:
        """Counts tokens by the tokenizer's backend where it has one, which does nothing else."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return lambda text: len(self._encoded(text))
        backend.no_truncation()
        backend.no_padding()
        return lambda text: len(backend.encode(text, add_special_tokens=False))

    @cached_property
    def _decode(self) -> Callable[[list[int]], str]:
        """The decoder of the tokenizer's backend where it has one: much faster, same text."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        decoder: Any = self._tokenizer if backend is None else backend
        return partial(decoder.decode, skip_special_tokens=False)

    @cached_property
    def _template(self) -> str:
        return str(self._tokenizer.chat_template)

    @cached_property
    def _markers(self) -> tuple[str, ...]:
        return tuple(marker for marker in (*THINKING, *CALLING) if marker in self._template)

    @cached_property
    def _n_tokens(self) -> int:
        """Width of the logits, which may be more than the tokenizer's tokens."""
        return int(self._network.get_output_embeddings().weight.shape[0])

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self._tokenizer, self._n_tokens, self._eos_ids)

    @cached_property
    def _eos_ids(self) -> frozenset[int]:
        ids = self._network.generation_config.eos_token_id
        own = ids if isinstance(ids, list) else [ids]
        return frozenset(i for i in [*own, self._tokenizer.eos_token_id] if i is not None)

    @cached_property
    def _hidden_ids(self) -> frozenset[int]:
        shown = {self._tokenizer.get_added_vocab().get(marker) for marker in MARKERS}
        return frozenset(set(self._tokenizer.all_special_ids) - shown)


def merged(outcomes: Sequence[Outcome]) -> Iterator[ChatDelta]:
    """Join neighbouring pieces of text; raise an error in its turn."""
    held: ChatDelta | None = None
    for outcome in outcomes:
        if held is not None and isinstance(outcome, ChatDelta) and joinable(held, outcome):
            held = ChatDelta(
                index=held.index,
                content=held.content + outcome.content,
                thinking=held.thinking + outcome.thinking,
                logprobs=[*held.logprobs, *outcome.logprobs],
            )
            continue
        if held is not None:
            yield held
        if isinstance(outcome, LabError):
            raise outcome
        held = outcome
    if held is not None:
        yield held


def joinable(first: ChatDelta, second: ChatDelta) -> bool:
    """Return True for two deltas of plain text of the same kind and answer."""
    same = bool(first.content) == bool(second.content) and first.index == second.index
    return same and is_plain(first) and is_plain(second)


def is_plain(delta: ChatDelta) -> bool:
    """Return True for a delta of nothing but text."""
    return not (delta.tool_call or delta.tool_call_delta or delta.finish_reason)


def total(usages: Sequence[Usage]) -> Usage:
    """Return what several answers to one prompt cost: the prompt counts once."""
    prompt_tokens = usages[0].prompt_tokens
    completion_tokens = sum(usage.completion_tokens for usage in usages)
    first = min(usages, key=lambda usage: usage.queue_ms + usage.first_token_ms)
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        prompt_tokens_details=first.prompt_tokens_details,
        queue_ms=first.queue_ms,
        first_token_ms=first.first_token_ms,
        total_ms=max(usage.total_ms for usage in usages),
    )


def template_message(message: ChatMessage) -> dict[str, Any]:
    """Return the message as chat templates take it."""
    plain: dict[str, Any] = {"role": message.role.value, "content": message.content or ""}
    if message.tool_calls:
        plain["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        plain["tool_call_id"] = message.tool_call_id
    return plain


def template_tool(tool: Tool) -> dict[str, Any]:
    """Return the tool as chat templates take it."""
    return {"type": "function", "function": tool.model_dump(mode="json")}
