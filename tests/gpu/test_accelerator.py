import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest
import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from benchmarks.random_llama import words
from lab.pipelines import run_pipeline
from lab.pipelines.attention import AttentionMasks
from lab.pipelines.cache import SlotCache
from lab.pipelines.chat import TransformersChat
from lab.pipelines.decoding import EagerStep, decoding_step
from lab.protocols import ChatPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.finish_reason import FinishReason
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.role import Role
from tests.gpu.conftest import load

pytestmark = pytest.mark.gpu


def user(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=Role.user, content=text)]


async def text_of(chat: ChatPipeline, prompt: int, **parameters: object) -> str:
    """Return an answer of up to 24 tokens to random words."""
    asked = user(" ".join(words(5 + 3 * prompt, prompt)))
    merged = GenerationParameters.model_validate({"max_new_tokens": 24, **parameters})
    return (await run_pipeline(chat, asked, merged)).content


def scores(chat: TransformersChat) -> torch.Tensor:
    """Return the scores of the next token at each place of a prompt, on the CPU."""
    network = cast("PreTrainedModel", chat._network)
    ids = torch.arange(5, 105, device=network.device)[None]
    with torch.inference_mode():
        return cast("torch.Tensor", network(input_ids=ids).logits).cpu()


def wait(module: object, given: object, output: CausalLMOutputWithPast) -> None:
    """Let the host wait for what the device computed."""
    assert output.logits is not None
    output.logits.sum().item()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def memory(device: str) -> int:
    """Return the bytes that tensors hold on a device; a CPU does not count them."""
    gc.collect()
    return 0 if device == "cpu" else torch.accelerator.memory_allocated(torch.device(device))


async def test_the_model_is_on_the_device(there: TransformersChat, device: str) -> None:
    assert there._network.device.type == torch.device(device).type


@pytest.mark.usefixtures("exact")
async def test_scores_are_those_of_the_cpu(there: TransformersChat, here: TransformersChat) -> None:
    torch.testing.assert_close(scores(there), scores(here), rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("exact")
async def test_greedy_text_is_that_of_the_cpu(
    there: TransformersChat, here: TransformersChat
) -> None:
    for seed in range(4):
        assert await text_of(there, seed, temperature=0) == await text_of(here, seed, temperature=0)


@pytest.mark.usefixtures("exact")
async def test_concurrent_answers_are_those_of_each_alone(there: TransformersChat) -> None:
    alone = [await text_of(there, seed, temperature=0) for seed in range(12)]

    together = await asyncio.gather(*(text_of(there, seed, temperature=0) for seed in range(12)))

    assert list(together) == alone
    assert there.engine.stats.active == 0


@pytest.mark.usefixtures("exact")
@torch.inference_mode()
def test_recorded_steps_score_as_launched_ones_do(there: TransformersChat) -> None:
    network = cast("PreTrainedModel", there._network)
    masks = AttentionMasks.of(network)
    caches = [SlotCache(masks.n_layers), SlotCache(masks.n_layers)]
    recorded = decoding_step(network, masks, caches[0])
    launched = EagerStep(network, masks, caches[1])
    for n_rows in (1, 3, 12, 9, 2):  # rows and tokens grow past what was recorded, and shrink
        for position in (0, 1, 254):
            places = [position + row % 2 for row in range(n_rows)]
            for cache, step in zip(caches, (recorded, launched), strict=True):
                assert cache.make_room(*step.size(n_rows, position + 2))
            tokens = [7 + row for row in range(n_rows)]
            scores, expected = (s.logits(tokens, places) for s in (recorded, launched))
            torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("exact")
async def test_a_model_that_waits_for_the_device_answers_too(
    there: TransformersChat, here: TransformersChat
) -> None:
    network = cast("PreTrainedModel", there._network)
    network.register_forward_hook(wait)

    assert await text_of(there, 0, temperature=0) == await text_of(here, 0, temperature=0)


async def test_a_seed_gives_the_same_text_again(there: TransformersChat) -> None:
    first, again = [await text_of(there, 3, temperature=1, seed=7) for _ in range(2)]

    assert first == again


async def test_closing_a_stream_frees_its_place(there: TransformersChat) -> None:
    parameters = GenerationParameters(max_new_tokens=200, temperature=0)
    async with aclosing(there.stream(user("Hello"), parameters)) as deltas:  # type: ignore[type-var]
        await anext(deltas)
        assert there.engine.stats.active == 1

    await until(lambda: there.engine.stats.active == 0)
    result = await run_pipeline(there, user("Hello"), GenerationParameters(max_new_tokens=3))
    assert result.finish_reason is FinishReason.length


async def test_memory_is_given_back_after_close(llama_folder: Path, device: str) -> None:
    before = memory(device)
    chat = load(llama_folder, device)
    await text_of(chat, 1, temperature=0)
    used = memory(device)

    chat.close()
    del chat

    assert used > before or device == "cpu"
    assert memory(device) <= before


async def test_decoding_is_recorded_beside_the_bandwidth(
    there: TransformersChat, device: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Tokens per second, and the bytes of weights per second that they read: kept, not judged."""
    await text_of(there, 1, temperature=0)
    n_tokens = 128
    started = time.perf_counter()
    parameters = GenerationParameters(max_new_tokens=n_tokens, temperature=0)
    result = await run_pipeline(there, user("Hello"), parameters)
    seconds = time.perf_counter() - started

    weights = sum(p.numel() * p.element_size() for p in there._network.parameters())
    record_testsuite_property("device", device)
    record_testsuite_property("decode_tokens_per_s", round(n_tokens / seconds, 1))
    record_testsuite_property("weight_bytes_per_s", round(weights * n_tokens / seconds))
    record_testsuite_property("copy_bytes_per_s", round(copy_bytes_per_s(device)))
    assert result.usage.completion_tokens == n_tokens


def copy_bytes_per_s(device: str) -> float:
    """Return the bytes that a copy on the device reads and writes in a second."""
    source = torch.ones(1 << 26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    synchronise(device)
    started = time.perf_counter()
    for _ in range(10):
        target.copy_(source)
    synchronise(device)
    return 10 * 2 * source.numel() / (time.perf_counter() - started)


def synchronise(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device != "cpu":
        torch.accelerator.synchronize(torch.device(device))
