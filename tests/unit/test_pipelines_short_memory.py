"""A batch that reuses what it has, and makes do with less where memory is short."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from lab.errors import LabError, NoRoomError
from lab.pipelines.batch import Batch
from lab.pipelines.cache import SlotCache
from lab.pipelines.kept import LEAST_REUSED
from lab.pipelines.request import Outcome, Request
from lab.pipelines.room import Limits, Room
from lab.pipelines.sampling import Sampler, choose
from lab.pipelines.split import Splitter
from lab.pipelines.text import Detokeniser, StopMatcher
from lab.schemas.generation_parameters import GenerationParameters

CONFIG = LlamaConfig(
    vocab_size=97,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=512,
    initializer_range=0.5,
    eos_token_id=2,
    pad_token_id=0,
)
ROW_TOKEN = 3 * 2 * 2 * 8 * 4
"""Bytes of a token of a row: layers, keys and values, heads, head size, float32."""


@pytest.fixture(scope="module")
def network() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(CONFIG).eval()


class Asked:
    """A request with what it got."""

    def __init__(
        self, prompt: list[int], n_tokens: int, seed: int | None = None, owner: str | None = "ann"
    ) -> None:
        self.error: LabError | None = None
        parameters = GenerationParameters(temperature=0 if seed is None else 1, seed=seed)
        self.request = Request(
            input_ids=prompt,
            max_new_tokens=n_tokens,
            eos_ids=frozenset(),
            sampler=Sampler.of(parameters),
            detokeniser=Detokeniser(lambda ids: "".join(f"{i} " for i in ids)),
            stops=StopMatcher([]),
            splitter=Splitter(()),
            deliver=self.take,
            owner=owner,
        )

    def take(self, request: Request, outcome: Outcome) -> None:
        if isinstance(outcome, LabError):
            self.error = outcome

    @property
    def answer(self) -> list[int]:
        return self.request.tokens[len(self.request.input_ids) :]


def words(n: int, seed: int) -> list[int]:
    numbers = random.Random(seed)
    return [numbers.randint(3, 96) for _ in range(n)]


def run(batch: Batch, *asked: Asked, n_steps: int = 2000) -> None:
    batch.waiting.extend(one.request for one in asked)
    for _ in range(n_steps):
        if not batch.requests:
            return
        batch.step()
    raise AssertionError("some request never ended")


def batch_of(network: PreTrainedModel, **more: Any) -> Batch:
    return Batch(network, **{"limits": Limits(8, 64), **more})


def alone(
    network: PreTrainedModel, prompt: list[int], n: int, seed: int | None = None
) -> list[int]:
    asked = Asked(prompt, n, seed)
    run(batch_of(network), asked)
    return asked.answer


def test_a_turn_that_goes_on_runs_only_what_is_new(network: PreTrainedModel) -> None:
    batch = batch_of(network, kept_prompts=2)
    history = words(50, seed=1)
    reused = []
    for turn in range(5):
        asked = Asked(history, 20)
        run(batch, asked)
        assert asked.answer == alone(network, history, 20)
        reused.append(asked.request.n_reused)
        history = asked.request.tokens + words(10, seed=2 + turn)

    assert reused == [0, 69, 99, 129, 159]  # all but the last token of each answer


def test_conversations_in_turn_each_find_their_own(network: PreTrainedModel) -> None:
    batch = batch_of(network, kept_prompts=3)
    histories = [words(40 + i, seed=i) for i in range(3)]
    for _ in range(3):
        for i, history in enumerate(histories):
            asked = Asked(history, 5)
            run(batch, asked)
            assert asked.answer == alone(network, history, 5)
            histories[i] = asked.request.tokens + words(3, seed=i)
    assert asked.request.n_reused == len(asked.request.input_ids) - 4


def test_answers_at_the_same_time_share_a_beginning(network: PreTrainedModel) -> None:
    system = words(60, seed=7)
    asked = [Asked(system + words(5, seed=i), 8) for i in range(6)]
    run(batch_of(network, kept_prompts=1), *asked)

    assert [one.request.n_reused >= 60 for one in asked] == [False, *([True] * 5)]
    assert [one.answer for one in asked] == [
        alone(network, one.request.input_ids, 8) for one in asked
    ]


Turn = tuple[int, int, int, int, bool]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 4),
    st.lists(
        st.tuples(
            st.integers(0, 3),  # conversation
            st.integers(1, 60),  # tokens that come to it
            st.integers(1, 12),  # tokens of the answer
            st.integers(0, 12),  # steps until the next turn comes
            st.booleans(),  # given up midway
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_what_is_reused_changes_no_answer(most: int, plan: list[Turn]) -> None:
    torch.manual_seed(0)
    network = LlamaForCausalLM(CONFIG).eval()
    batch = batch_of(network, kept_prompts=most, limits=Limits(3, 64))
    histories = [words(30, seed=i) for i in range(4)]
    asked = []
    for number, (which, n_more, n_new, n_steps, given_up) in enumerate(plan):
        history = histories[which] = histories[which][:300] + words(n_more, seed=number)
        one = Asked(history, n_new, seed=number)
        asked.append(one)
        batch.waiting.append(one.request)
        for _ in range(n_steps):
            batch.step()
        one.request.cancelled = given_up and not one.request.finished
        if one.request.finished:
            histories[which] = list(one.request.tokens)
    run(batch)

    for number, one in enumerate(asked):
        if not one.request.cancelled:
            expected = alone(network, one.request.input_ids, one.request.max_new_tokens, number)
            assert one.answer == expected


def test_who_finds_no_room_waits_and_answers_as_alone(network: PreTrainedModel) -> None:
    taken: list[int] = []

    def may_take(n_bytes: int, insist: bool) -> bool:
        taken.append(n_bytes)
        return n_bytes <= 3 * 128 * ROW_TOKEN

    batch = batch_of(network, room=Room(may_take, wait_s=5))
    asked = [Asked(words(30 + 9 * i, seed=i), 90, seed=i) for i in range(6)]
    run(batch, *asked)

    assert batch.n_bytes <= 3 * 128 * ROW_TOKEN
    assert max(taken) > 3 * 128 * ROW_TOKEN  # more was wished for
    for i, one in enumerate(asked):
        assert one.answer == alone(network, one.request.input_ids, 90, seed=i)
        assert one.error is None


def test_an_answer_that_never_finds_room_fails_alone(network: PreTrainedModel) -> None:
    room = Room(lambda n_bytes, _: n_bytes <= 3 * 128 * ROW_TOKEN, wait_s=0.05)
    batch = batch_of(network, room=room)
    short, long, other = (Asked(words(20, 1), 20), Asked(words(20, 2), 480), Asked(words(9, 3), 40))
    run(batch, short, long, other, n_steps=10**7)

    assert isinstance(long.error, NoRoomError)
    assert "LAB_RESIDENCY_MEMORY_GB" in str(long.error)
    assert long.answer == alone(network, words(20, 2), 480)[: len(long.answer)]
    assert len(short.answer) == 20
    assert len(other.answer) == 40


def short_of_memory(
    network: PreTrainedModel, bears: Callable[[Tensor], bool]
) -> tuple[Batch, list[Limits]]:
    """Return a batch on a device that runs out of memory where it does not bear the input."""
    learned: list[Limits] = []
    plain = network.forward

    def forward(*args: Any, input_ids: Tensor, **kwargs: Any) -> Any:
        if not bears(input_ids):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(*args, input_ids=input_ids, **kwargs)

    network.forward = forward
    return batch_of(network, limits=Limits(8, 256), room=Room(learn=learned.append)), learned


@pytest.fixture
def breakable() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(CONFIG).eval()


def test_a_device_out_of_memory_answers_fewer_at_a_time(
    network: PreTrainedModel, breakable: PreTrainedModel
) -> None:
    batch, learned = short_of_memory(breakable, lambda ids: ids.shape[0] <= 2)
    asked = [Asked(words(20 + i, seed=i), 15, seed=i) for i in range(7)]
    run(batch, *asked)

    assert [one.answer for one in asked] == [
        alone(network, one.request.input_ids, 15, seed=i) for i, one in enumerate(asked)
    ]
    assert learned[-1] == Limits(1, 256)
    assert not any(one.error for one in asked)


def test_a_device_out_of_memory_takes_prompts_by_less(
    network: PreTrainedModel, breakable: PreTrainedModel
) -> None:
    batch, learned = short_of_memory(breakable, lambda ids: ids.shape[1] <= 100)
    asked = Asked(words(300, seed=1), 10)
    run(batch, asked)

    assert asked.answer == alone(network, words(300, seed=1), 10)
    assert learned == [Limits(8, 128), Limits(8, 64)]


def test_what_the_device_cannot_bear_alone_fails_alone(breakable: PreTrainedModel) -> None:
    poison = 96
    batch, _ = short_of_memory(breakable, lambda ids: poison not in ids)
    long = Asked([*[t for t in words(40, 1) if t != poison], poison], 5)
    others = [Asked([t for t in words(20, i) if t != poison], 3) for i in range(2, 5)]
    run(batch, others[0], long, *others[1:])

    assert isinstance(long.error, NoRoomError)
    assert "no other ran beside it" in str(long.error)
    assert not any(one.error for one in others)


def test_a_short_beginning_is_not_worth_a_copy(network: PreTrainedModel) -> None:
    batch = batch_of(network, kept_prompts=2)
    same = words(LEAST_REUSED - 1, seed=1)
    first, second = Asked([*same, *words(40, 2)], 3), Asked([*same, *words(40, 3)], 3)
    run(batch, first)
    run(batch, second)
    assert second.request.n_reused == 0


def test_nobody_reuses_what_another_asked(network: PreTrainedModel) -> None:
    batch = batch_of(network, kept_prompts=4)
    prompt = words(60, seed=1)
    reused = []
    for owner in ("ann", "bob", "ann", None, None):
        asked = Asked([*prompt, 7], 3, owner=owner)
        run(batch, asked)
        reused.append(asked.request.n_reused)
    together = [Asked([*prompt, 8], 3, owner=owner) for owner in ("cai", "dan")]
    run(batch, *together)

    assert reused == [0, 0, 60, 0, 0]
    assert [one.request.n_reused for one in together] == [0, 0]


def test_the_first_prompt_is_held_to_the_account_too(network: PreTrainedModel) -> None:
    limit = 2 * 64 * ROW_TOKEN
    room = Room(lambda n_bytes, _: n_bytes <= limit, token_bytes=ROW_TOKEN, wait_s=0.05)
    batch = batch_of(network, room=room)
    long, short = Asked(words(400, 1), 3), Asked(words(20, 2), 3)
    run(batch, long, short, n_steps=10**7)

    assert isinstance(long.error, NoRoomError)
    assert len(short.answer) == 3
    assert batch.n_bytes <= limit


def test_what_can_never_find_room_is_refused_at_once(network: PreTrainedModel) -> None:
    limit = 64 * ROW_TOKEN
    room = Room(
        lambda n_bytes, _: n_bytes <= limit,
        could_take=lambda n_bytes: n_bytes <= limit,
        token_bytes=ROW_TOKEN,
        wait_s=3600,
    )
    long = Asked(words(400, 1), 3)
    run(batch_of(network, room=room), long, n_steps=3)
    assert isinstance(long.error, NoRoomError)


def test_each_who_waits_has_a_time_of_its_own(network: PreTrainedModel) -> None:
    room = Room(lambda *_: False, token_bytes=ROW_TOKEN, wait_s=0.2)
    batch = batch_of(network, room=room)
    first, second = Asked(words(40, 1), 3), Asked(words(40, 2), 3)
    batch.waiting.extend([first.request, second.request])
    batch.step()
    time.sleep(0.15)
    first.request.cancelled = True
    batch.step()
    time.sleep(0.1)
    batch.step()
    assert second.error is None


def test_memory_that_runs_out_while_tokens_are_chosen_ends_nobody(
    network: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_at_a_time(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
        if len(samplers) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return choose(logits, samplers)

    monkeypatch.setattr("lab.pipelines.batch.choose", one_at_a_time)
    asked = [Asked(words(20 + i, seed=i), 8, seed=i) for i in range(3)]
    run(batch_of(network), *asked)
    monkeypatch.undo()
    assert [one.answer for one in asked] == [
        alone(network, one.request.input_ids, 8, seed=i) for i, one in enumerate(asked)
    ]


def test_a_size_that_comes_back_counts_as_another(network: PreTrainedModel) -> None:
    """Else a recording would write to buffers that are gone."""
    cache = SlotCache(CONFIG.num_hidden_layers)
    assert cache.make_room(4, 64)
    seen = cache.n_resized
    assert cache.fit(1, 128)
    assert cache.fit(4, 64)
    assert cache.size == (4, 64)
    assert cache.n_resized > seen
