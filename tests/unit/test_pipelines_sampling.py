"""What changes a distribution, beside what transformers makes of it."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
)

from lab.errors import InputError, RateLimitError
from lab.pipelines import run_pipeline
from lab.pipelines.chat import TransformersChat
from lab.pipelines.load import load_chat
from lab.pipelines.sampling import Sampler, choose, keep_min_p, likelihoods
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.task import Task

HELLO = [ChatMessage(role=Role.user, content="kami tore sunla")]
KINDS: list[dict[str, Any]] = [
    {"temperature": 1.0, "min_p": 0.1},
    {"temperature": 0.7, "frequency_penalty": 0.8, "presence_penalty": 0.3},
    {"repetition_penalty": 1.3},
    {"temperature": 1.0, "logit_bias": {"40": 5, "41": -100}},
    {"temperature": 1.2, "top_p": 0.9, "logprobs": True, "top_logprobs": 3},
    {"temperature": 1.0, "top_k": 20},
    {},
]


@pytest.fixture
async def chat(llama_folder: Path) -> AsyncIterator[TransformersChat]:
    model = Model(id="tiny", task=Task.chat, source=str(llama_folder))
    chat = load_chat(model, ChatConfig(model=str(llama_folder), threads=1))
    yield chat
    chat.close()


async def answer(chat: TransformersChat, **parameters: Any) -> ChatResult:
    asked = {"max_new_tokens": 24, "seed": 3, **parameters}
    return await run_pipeline(chat, HELLO, GenerationParameters.model_validate(asked))


def prompt_ids(chat: TransformersChat) -> list[int]:
    return chat._encode(chat._prompt(HELLO, (), enable_thinking=False))


def sampler(prompt: tuple[int, ...] = (), **parameters: Any) -> Sampler:
    asked = GenerationParameters.model_validate({"seed": 0, **parameters})
    return Sampler.of(asked, prompt)


def shaped(logits: torch.Tensor, one: Sampler) -> torch.Tensor:
    """Return (V,) logits as a sampler changes them."""
    row = logits.clone()
    assert one.shaping is not None
    one.shaping.shape(row)
    return row


def test_min_p_keeps_what_transformers_keeps() -> None:
    logits = torch.randn(5, 80) * 3

    for min_p in (0.01, 0.1, 0.5, 1.0):
        kept = keep_min_p(logits.softmax(-1), [min_p] * 5) > 0

        expected = MinPLogitsWarper(min_p)(cast("Any", None), logits).isfinite()
        assert torch.equal(kept, expected)


def test_repetition_is_penalised_as_transformers_does() -> None:
    logits, prompt = torch.randn(60), (3, 9, 9, 40)
    one = sampler(prompt, repetition_penalty=1.7)

    first = shaped(logits, one)
    cast("Any", one.shaping).take(11)
    second = shaped(logits, one)

    processor = RepetitionPenaltyLogitsProcessor(1.7)
    for row, ids in ((first, prompt), (second, (*prompt, 11))):
        expected = processor(cast("Any", torch.tensor([ids])), logits[None].clone())
        assert torch.allclose(row, expected[0])


def test_frequency_and_presence_count_the_answer_as_openai_says() -> None:
    logits = torch.randn(60)
    one = sampler((1, 2, 3), frequency_penalty=0.5, presence_penalty=-1.25, logit_bias={"9": 2})
    shaped(logits, one)
    for token in (7, 9, 7, 7):
        cast("Any", one.shaping).take(token)

    row = shaped(logits, one)

    expected = logits.clone()
    expected[7] -= 3 * 0.5 - 1.25
    expected[9] -= 1 * 0.5 - 1.25 - 2
    assert torch.allclose(row, expected)


def test_bias_forbids_and_forces() -> None:
    logits = torch.randn(4000, 20)
    forbidding = [sampler(temperature=1, logit_bias={"4": -100})] * 4000
    forcing = [sampler(temperature=1, logit_bias={"4": 100})] * 4000

    assert 4 not in Counter(choose(logits, forbidding))
    assert set(choose(logits, forcing)) == {4}


def test_logits_are_left_as_they_were() -> None:
    logits = torch.randn(2, 20)
    before = logits.clone()

    choose(logits, [sampler(logit_bias={"4": 100}), sampler()])

    assert torch.equal(logits, before)


def test_a_row_is_the_same_beside_any_others() -> None:
    def steps(which: list[int]) -> list[list[int]]:
        samplers = [sampler((5, 6), **KINDS[i]) for i in which]
        return [choose(logits[which], samplers) for logits in rounds]

    rounds = torch.randn(6, len(KINDS), 50)

    together = steps(list(range(len(KINDS))))
    alone = [steps([i]) for i in range(len(KINDS))]

    assert together == [[row[step][0] for row in alone] for step in range(6)]


def test_nobody_pays_for_probabilities_that_nobody_asked_for() -> None:
    assert likelihoods(torch.empty(2, 0), [1, 2], [None, None]) == [None, None]


async def test_repetition_penalty_gives_what_generate_gives(
    chat: TransformersChat, llama_folder: Path
) -> None:
    network: Any = LlamaForCausalLM.from_pretrained(llama_folder)
    ids = torch.tensor([prompt_ids(chat)])
    expected = network.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=24,
        do_sample=False,
        repetition_penalty=1.4,
        eos_token_id=None,
    )[0, ids.shape[1] :]

    result = await answer(chat, repetition_penalty=1.4)

    assert result.content == AutoTokenizer.from_pretrained(llama_folder).decode(expected)


async def test_probabilities_are_the_models_own(chat: TransformersChat, llama_folder: Path) -> None:
    """Before temperature and penalties; the likeliest tokens stand best first."""
    network = LlamaForCausalLM.from_pretrained(llama_folder)
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    sampling = {"temperature": 1.5, "presence_penalty": 1, "top_k": 9}

    result = await answer(chat, **sampling, logprobs=True, top_logprobs=4)
    plain = await answer(chat, **sampling)

    assert result.content == plain.content
    assert plain.logprobs == []
    written = b"".join(bytes(token.bytes or []) for token in result.logprobs)
    assert written.decode(errors="replace") == result.content
    assert len(result.logprobs) == result.usage.completion_tokens
    prompt = len(prompt_ids(chat))
    by_bytes = {chat._vocabulary.bytes_of(i): i for i in range(len(tokenizer))}
    ids = prompt_ids(chat) + [by_bytes[bytes(token.bytes or [])] for token in result.logprobs]
    scores = network(torch.tensor([ids])).logits[0, prompt - 1 : -1].log_softmax(-1)
    for token, row, chosen in zip(result.logprobs, scores, ids[prompt:], strict=True):
        assert token.logprob == pytest.approx(row[chosen].item(), abs=1e-3)
        best = row.topk(4).values.tolist()
        assert [top.logprob for top in token.top_logprobs] == pytest.approx(best, abs=1e-3)


async def test_several_answers_are_those_of_the_next_seeds(chat: TransformersChat) -> None:
    """The prompt counts once."""
    several = await answer(chat, n=3, temperature=1, seed=5)
    each = [await answer(chat, temperature=1, seed=5 + i) for i in range(3)]

    texts = [several.content, *(other.content for other in several.alternatives)]
    assert texts == [one.content for one in each]
    assert len(set(texts)) == 3
    assert several.usage.prompt_tokens == each[0].usage.prompt_tokens
    assert several.usage.completion_tokens == sum(one.usage.completion_tokens for one in each)


async def test_several_answers_leave_nothing_when_they_do_not_fit(llama_folder: Path) -> None:
    model = Model(id="tiny", task=Task.chat, source=str(llama_folder))
    config = ChatConfig(model=str(llama_folder), threads=1, max_streams=2, max_queue=0)
    chat = load_chat(model, config)

    with pytest.raises(RateLimitError, match="the limit is 2"):
        await answer(chat, n=3)

    assert chat.engine.stats.active == 0
    assert (await answer(chat, n=2)).alternatives
    chat.close()


async def test_an_answer_is_the_same_among_others_of_every_kind(chat: TransformersChat) -> None:
    alone = [await answer(chat, **kind) for kind in KINDS]

    together = await asyncio.gather(*(answer(chat, **kind) for kind in KINDS))

    assert [one.content for one in together] == [one.content for one in alone]
    for one, other in zip(together, alone, strict=True):
        pairs = zip(one.logprobs, other.logprobs, strict=True)
        assert all(math.isclose(a.logprob, b.logprob, abs_tol=1e-4) for a, b in pairs)


@pytest.mark.parametrize("token", ["512000", "-1", "many"])
async def test_a_bias_on_no_token_is_refused(chat: TransformersChat, token: str) -> None:
    with pytest.raises(InputError, match=rf"`logit_bias` names '{token}'.*ids from 0 to "):
        await answer(chat, logit_bias={token: 1})
