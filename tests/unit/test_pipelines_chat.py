import asyncio
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from benchmarks.random_llama import words
from lab.errors import (
    ContextLengthError,
    InputError,
    ModelLoadError,
    RateLimitError,
    UnavailableError,
)
from lab.pipelines import run_pipeline
from lab.pipelines.chat import TransformersChat
from lab.pipelines.load import load_chat
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.finish_reason import FinishReason
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.task import Task
from lab.schemas.tool import Tool

CALL = '<tool_call>\n{"name": "calculator", "arguments": {"expression": "12 + 30"}}\n</tool_call>'


def user(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=Role.user, content=text)]


def load(folder: Path, **settings: Any) -> TransformersChat:
    model = Model(id="tiny", task=Task.chat, source=str(folder))
    return load_chat(model, ChatConfig(model=str(folder), threads=1, **settings))


@pytest.fixture
async def chat(llama_folder: Path) -> AsyncIterator[TransformersChat]:
    chat = load(llama_folder)
    yield chat
    chat.close()


@pytest.fixture
async def narrow(llama_folder: Path) -> AsyncIterator[TransformersChat]:
    chat = load(llama_folder, max_streams=2, max_queue=1)
    yield chat
    chat.close()


class ScriptedLlama(LlamaForCausalLM):
    """A Llama that answers with given tokens, whatever its weights say."""

    script: list[int]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        position = int(kwargs["position_ids"][0, -1])
        if kwargs["input_ids"].shape[1] > 1:
            self.prompt_end = position
        output.logits[:, -1] = 0
        output.logits[:, -1, self.script[position - self.prompt_end]] = 1
        return output


@pytest.fixture
async def scripted(llama_folder: Path) -> AsyncIterator[TransformersChat]:
    network = ScriptedLlama.from_pretrained(llama_folder)
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    model = Model(id="scripted", task=Task.chat, source=str(llama_folder))
    chat = TransformersChat(model, network, tokenizer, config=ChatConfig(threads=1))
    yield chat
    chat.close()


async def answer(chat: TransformersChat, text: str, **parameters: Any) -> list[ChatDelta]:
    """Return the deltas with which a scripted model writes `text`."""
    network, tokenizer = cast("ScriptedLlama", chat._network), chat._tokenizer
    network.script = [*tokenizer.encode(text), cast("int", tokenizer.eos_token_id)]
    return [delta async for delta in chat.stream(user("Hi"), GenerationParameters(**parameters))]


def mixed(n: int) -> list[tuple[list[ChatMessage], GenerationParameters]]:
    """Return requests of many lengths; half of them greedy."""
    numbers = random.Random(n)
    return [
        (
            user(" ".join(words(numbers.randint(1, 25), seed))),
            GenerationParameters(
                max_new_tokens=numbers.randint(1, 50),
                temperature=seed % 2 * 0.9,
                top_p=0.9 if seed % 3 == 0 else 1,
                top_k=40 if seed % 5 == 0 else 0,
                seed=seed,
            ),
        )
        for seed in range(n)
    ]


async def run_later(
    chat: TransformersChat, request: tuple[list[ChatMessage], GenerationParameters], delay_s: float
) -> ChatResult:
    await asyncio.sleep(delay_s)
    return await run_pipeline(chat, *request)


async def test_an_answer_is_the_same_alone_and_among_31_others(chat: TransformersChat) -> None:
    requests = mixed(32)
    alone = [await run_pipeline(chat, *request) for request in requests]

    delays = [0.003 * (i % 7) for i in range(32)]
    together = await asyncio.gather(*map(run_later, [chat] * 32, requests, delays))

    assert [result.content for result in together] == [result.content for result in alone]


async def test_greedy_decoding_is_what_generate_gives(
    chat: TransformersChat, llama_folder: Path
) -> None:
    messages = user("kami tore sunla")
    network: Any = LlamaForCausalLM.from_pretrained(llama_folder)
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    prompt = chat._prompt(messages, (), enable_thinking=False)
    ids = torch.tensor([tokenizer.encode(prompt)])
    expected = network.generate(ids, max_new_tokens=30, do_sample=False)[0, ids.shape[1] :]

    result = await run_pipeline(chat, messages, GenerationParameters(max_new_tokens=30))

    assert result.content == tokenizer.decode(expected, skip_special_tokens=True)


async def test_a_long_prompt_taken_in_parts_gives_the_same_answer(llama_folder: Path) -> None:
    messages = user(" ".join(words(60, 1)))
    parameters = GenerationParameters(max_new_tokens=20)
    whole, parts = load(llama_folder), load(llama_folder, prefill_tokens=16)

    results = [await run_pipeline(chat, messages, parameters) for chat in (whole, parts)]
    whole.close()
    parts.close()

    assert results[0].usage.prompt_tokens > 100
    assert results[0].content == results[1].content


async def test_a_request_joins_while_another_decodes(chat: TransformersChat) -> None:
    long = chat.stream(user("one"), GenerationParameters(max_new_tokens=200))
    await anext(long)

    short = await run_pipeline(chat, user("two"), GenerationParameters(max_new_tokens=3))
    active = chat.engine.stats.active
    await cast("Any", long).aclose()

    assert short.usage.completion_tokens == 3
    assert active == 1


async def test_closing_a_stream_frees_its_place(narrow: TransformersChat) -> None:
    parameters = GenerationParameters(max_new_tokens=200)
    streams = [narrow.stream(user(str(i)), parameters) for i in range(2)]
    for stream in streams:
        await anext(stream)
    waiting = asyncio.create_task(
        run_pipeline(narrow, user("next"), GenerationParameters(max_new_tokens=2))
    )
    await asyncio.sleep(0)

    for stream in streams:
        await cast("Any", stream).aclose()

    assert (await waiting).usage.completion_tokens == 2
    assert narrow.engine.stats.active == 0


async def test_cancelling_the_reader_frees_its_place(chat: TransformersChat) -> None:
    task = asyncio.create_task(run_pipeline(chat, user("x"), GenerationParameters()))
    await asyncio.sleep(0.05)

    task.cancel()
    await asyncio.wait([task])

    assert chat.engine.stats.active == 0


async def test_more_requests_than_may_wait_are_refused(narrow: TransformersChat) -> None:
    parameters = GenerationParameters(max_new_tokens=200)
    running = [
        asyncio.create_task(run_pipeline(narrow, user(str(i)), parameters)) for i in range(3)
    ]
    await asyncio.sleep(0)

    with pytest.raises(RateLimitError, match="the limit is 3"):
        await run_pipeline(narrow, user("one more"), parameters)

    assert narrow.engine.stats.queued == 1
    for task in running:
        task.cancel()
    await asyncio.wait(running)


async def test_waiting_requests_start_in_the_order_they_came(llama_folder: Path) -> None:
    chat = load(llama_folder, max_streams=1)
    finished: list[int] = []

    async def run(i: int) -> None:
        await run_pipeline(chat, user(str(i)), GenerationParameters(max_new_tokens=3))
        finished.append(i)

    await asyncio.gather(*(run(i) for i in range(6)))
    chat.close()

    assert finished == list(range(6))


async def test_usage_counts_tokens_and_time(chat: TransformersChat) -> None:
    messages = user("kami tore")

    usage = (await run_pipeline(chat, messages, GenerationParameters(max_new_tokens=7))).usage

    assert usage.prompt_tokens == chat.count_tokens(messages)
    assert usage.completion_tokens == 7
    assert usage.total_tokens == usage.prompt_tokens + 7
    assert 0 < usage.first_token_ms < usage.total_ms
    assert usage.queue_ms + usage.first_token_ms <= usage.total_ms


async def test_a_prompt_longer_than_the_window_is_refused(chat: TransformersChat) -> None:
    with pytest.raises(ContextLengthError) as caught:
        await run_pipeline(chat, user("kami " * 500), GenerationParameters())

    assert caught.value.context_length == 256
    assert caught.value.n_tokens > 256


async def test_an_answer_ends_where_the_window_does(chat: TransformersChat) -> None:
    result = await run_pipeline(chat, user("x"), GenerationParameters(max_new_tokens=10_000))

    if result.finish_reason == FinishReason.length:
        assert result.usage.total_tokens == 256
    assert result.usage.total_tokens <= 256


async def test_a_seed_decides_the_answer(chat: TransformersChat) -> None:
    def sampled(seed: int) -> GenerationParameters:
        return GenerationParameters(max_new_tokens=20, temperature=1, seed=seed)

    first, again, other = [
        (await run_pipeline(chat, user("x"), sampled(seed))).content for seed in (1, 1, 2)
    ]

    assert first == again != other


async def test_streamed_text_is_whole_characters(scripted: TransformersChat) -> None:
    text = "Größe: 3 µm, 猫🐈 naïve."

    deltas = await answer(scripted, text)

    assert "".join(delta.content for delta in deltas) == text
    assert not any("\ufffd" in delta.content for delta in deltas)
    assert deltas[-1].finish_reason == FinishReason.stop


async def test_a_stop_text_over_several_tokens_ends_the_answer(scripted: TransformersChat) -> None:
    deltas = await answer(scripted, "One. Observation: two.", stop=["Observation:"])

    assert "".join(delta.content for delta in deltas) == "One. "
    assert deltas[-1].finish_reason == FinishReason.stop


async def test_a_tool_call_comes_whole_and_is_the_reason_to_stop(
    scripted: TransformersChat,
) -> None:
    deltas = await answer(scripted, f"Let me calculate.\n{CALL}")

    assert "".join(delta.content for delta in deltas) == "Let me calculate."
    assert [delta.tool_call.name for delta in deltas if delta.tool_call] == ["calculator"]
    assert deltas[-1].finish_reason == FinishReason.tool_calls


async def test_thinking_is_apart_from_content(scripted: TransformersChat) -> None:
    deltas = await answer(scripted, "Hmm.\n</think>\n\nYes.", enable_thinking=True)

    assert "".join(delta.thinking for delta in deltas) == "Hmm."
    assert "".join(delta.content for delta in deltas) == "Yes."


async def test_a_failing_step_fails_its_answers_only(
    chat: TransformersChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(chat._network, "forward", fail)
        with pytest.raises(UnavailableError, match="no memory"):
            await run_pipeline(chat, user("x"), GenerationParameters(max_new_tokens=2))

    result = await run_pipeline(chat, user("x"), GenerationParameters(max_new_tokens=2))
    assert result.usage.completion_tokens == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_an_engine_that_dies_fails_its_answers_and_starts_again(
    chat: TransformersChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead: list[threading.Thread] = []

    def die(*args: object, **kwargs: object) -> None:
        dead.append(threading.current_thread())
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(chat._network, "forward", die)
        with pytest.raises(UnavailableError, match="starts again"):
            await run_pipeline(chat, user("x"), GenerationParameters(max_new_tokens=2))
        dead[0].join()  # its last words belong to this test

    result = await run_pipeline(chat, user("x"), GenerationParameters(max_new_tokens=2))
    assert result.usage.completion_tokens == 2


async def test_logits_that_are_not_finite_fail_the_answer(
    llama_folder: Path,
) -> None:
    chat = load(llama_folder)
    cast("Any", chat._network).get_input_embeddings().weight.data.fill_(torch.nan)

    with pytest.raises(UnavailableError, match="finite"):
        await run_pipeline(chat, user("x"), GenerationParameters(max_new_tokens=2))
    chat.close()


async def test_unloading_ends_answers_with_an_error(llama_folder: Path) -> None:
    chat = load(llama_folder)
    task = asyncio.create_task(run_pipeline(chat, user("x"), GenerationParameters()))
    await asyncio.sleep(0.02)

    await asyncio.to_thread(chat.close)

    with pytest.raises(UnavailableError, match="unloaded"):
        await task


async def test_tools_reach_the_prompt(chat: TransformersChat) -> None:
    tool = Tool(name="calculator", description="Calculates.")

    assert "calculator" in chat._prompt(user("x"), [tool], enable_thinking=False)
    assert chat.count_tokens(user("x"), [tool]) > chat.count_tokens(user("x"))


async def test_a_text_counts_as_it_does_in_a_message(chat: TransformersChat) -> None:
    text = "My dog is called Bo, and 12 cats are not."

    assert chat.count_text("") == 0
    assert chat.count_text(text) == chat.count_tokens(user(text)) - chat.count_tokens(user(""))


async def test_tools_are_refused_where_the_template_has_none(chat: TransformersChat) -> None:
    chat._tokenizer.chat_template = "{{ messages[0].content }}"

    with pytest.raises(InputError, match="knows no tools"):
        chat.count_tokens(user("x"), [Tool(name="calculator")])


async def test_messages_that_the_template_refuses_are_an_input_error(
    chat: TransformersChat,
) -> None:
    chat._tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"

    with pytest.raises(InputError, match="roles must alternate"):
        chat.count_tokens(user("x"))


async def test_a_prompt_without_a_message_is_an_input_error(chat: TransformersChat) -> None:
    with pytest.raises(InputError, match="at least one message"):
        await run_pipeline(chat, [], GenerationParameters())


def test_a_model_without_chat_template_cannot_chat(llama_folder: Path) -> None:
    network = LlamaForCausalLM.from_pretrained(llama_folder)
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    tokenizer.chat_template = None
    model = Model(id="base", task=Task.chat, source=str(llama_folder))

    with pytest.raises(ModelLoadError, match="instruction-tuned"):
        TransformersChat(model, network, tokenizer, config=ChatConfig())
