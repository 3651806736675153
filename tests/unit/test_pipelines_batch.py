import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lab.errors import ModelLoadError, UnavailableError
from lab.pipelines.batch import Batch
from lab.pipelines.layer import fuse_layers
from lab.pipelines.packing import pack_linears
from lab.pipelines.request import Outcome, Request
from lab.pipelines.room import Limits
from lab.pipelines.sampling import Sampler, choose
from lab.pipelines.split import Splitter
from lab.pipelines.text import Detokeniser, StopMatcher
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.generation_parameters import GenerationParameters

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.5,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def networks() -> dict[str, PreTrainedModel]:
    torch.manual_seed(0)
    return {
        "full": Qwen3ForCausalLM(Qwen3Config(**SIZES)),
        "sliding": MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8)),
        "alternating": Gemma2ForCausalLM(
            Gemma2Config(**SIZES, sliding_window=8, query_pre_attn_scalar=8)
        ),
    }


def families() -> dict[str, PreTrainedModel]:
    """Return the networks, and two more whose layers can be fused: one with biases."""
    return networks() | {
        "biased": Qwen2ForCausalLM(Qwen2Config(**SIZES)),
        "plain": LlamaForCausalLM(LlamaConfig(**SIZES)),
    }


class Answers:
    """Token ids that a batch delivered, by request."""

    def __init__(self) -> None:
        self.texts: Counter[Request] = Counter()
        self.tokens: dict[Request, list[int]] = {}

    def request(self, prompt: list[int], n_tokens: int, **parameters: Any) -> Request:
        def keep(request: Request, outcome: Outcome) -> None:
            assert isinstance(outcome, ChatDelta)
            ids = [int(part) for part in outcome.content.split()]
            self.tokens.setdefault(request, []).extend(ids)

        return Request(
            input_ids=prompt,
            max_new_tokens=n_tokens,
            eos_ids=frozenset(),
            sampler=Sampler.of(GenerationParameters.model_validate(parameters)),
            detokeniser=Detokeniser(lambda ids: "".join(f"{i} " for i in ids)),
            stops=StopMatcher([]),
            splitter=Splitter(()),
            deliver=keep,
        )


def run(batch: Batch) -> None:
    while batch.requests:
        batch.step()


def prompts(n: int) -> list[list[int]]:
    numbers = random.Random(n)
    return [[numbers.randint(3, 96) for _ in range(numbers.randint(1, 40))] for _ in range(n)]


NETWORK = networks()["full"].eval()
fuse_layers(NETWORK)
pack_linears(NETWORK)
PROMPT = prompts(3)[0] + prompts(3)[1]


@pytest.mark.parametrize(("name", "network"), networks().items())
@torch.inference_mode()
def test_rows_of_many_lengths_decode_as_generate_does(name: str, network: PreTrainedModel) -> None:
    network.eval()
    answers = Answers()
    batch = Batch(network, limits=Limits(4, 24))
    requests = [answers.request(prompt, 5 + i * 3) for i, prompt in enumerate(prompts(9))]

    batch.waiting.extend(requests)
    run(batch)

    for request in requests:
        ids = torch.tensor([request.input_ids])
        expected = cast("Any", network).generate(
            ids, max_new_tokens=request.max_new_tokens, do_sample=False, eos_token_id=None
        )
        assert answers.tokens[request] == expected[0, ids.shape[1] :].tolist()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(0, 12), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_who_joins_and_leaves_when_changes_no_answer(
    plan: list[tuple[int, int, int, bool]],
) -> None:
    """Each plan: prompt tokens, new tokens, the step it joins, whether it is cancelled midway."""
    answers = Answers()
    batch = Batch(NETWORK, limits=Limits(3, 16))
    requests = [answers.request(PROMPT[:n], new, temperature=1, seed=new) for n, new, _, _ in plan]
    for step in range(40):
        for request, (_, _, start, cancelled) in zip(requests, plan, strict=True):
            if start == step:
                batch.waiting.append(request)
            if cancelled and step == start + 3:
                request.cancelled = True
        batch.step()
    run(batch)

    for request, (n, new, _, cancelled) in zip(requests, plan, strict=True):
        alone = answers.request(PROMPT[:n], new, temperature=1, seed=new)
        batch.waiting.append(alone)
        run(batch)
        tokens = answers.tokens.get(request, [])
        assert tokens == answers.tokens[alone][: len(tokens)]
        assert cancelled or len(tokens) == new


def test_a_cancelled_request_leaves_at_the_next_step() -> None:
    answers = Answers()
    batch = Batch(NETWORK, limits=Limits(1, 16))
    first, second = answers.request(PROMPT, 50), answers.request(PROMPT, 2)
    batch.waiting.extend([first, second])
    batch.step()
    batch.step()
    batch.step()

    first.cancelled = True
    batch.step()

    assert first not in batch.requests
    assert batch.n_active == 1


def test_scores_have_the_same_bits_alone_and_in_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = networks()["full"].eval()
    fuse_layers(network)
    pack_linears(network)
    seen: dict[int, list[torch.Tensor]] = {}

    def spy(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int]:
        for row, sampler in zip(logits, samplers, strict=True):
            seen.setdefault(id(sampler), []).append(row.clone())
        return choose(logits, samplers)

    monkeypatch.setattr("lab.pipelines.batch.choose", spy)
    answers = Answers()
    batch = Batch(network, limits=Limits(8, 64))
    together = [answers.request(prompt, 20) for prompt in prompts(12)]
    batch.waiting.extend(together)
    run(batch)

    for request in together:
        alone = answers.request(request.input_ids, 20)
        batch.waiting.append(alone)
        run(batch)
        pairs = zip(seen[id(request.sampler)], seen[id(alone.sampler)], strict=True)
        assert all(torch.equal(first, second) for first, second in pairs)


def test_packed_layers_compute_what_linear_layers_do() -> None:
    plain, packed = (networks()["full"].eval() for _ in range(2))
    ids = torch.tensor([PROMPT])

    n_packed = pack_linears(packed)

    assert n_packed == 4 * 7 + 1
    assert torch.allclose(plain(ids).logits, packed(ids).logits, atol=1e-4)


@pytest.mark.parametrize("name", [*networks(), "biased", "plain"])
@torch.inference_mode()
def test_fused_layers_compute_what_transformers_layers_do(name: str) -> None:
    """Layers of another family stay as they are."""
    plain, fused = (families()[name].eval() for _ in range(2))
    ids = torch.tensor([PROMPT])

    n_fused = fuse_layers(fused)

    assert n_fused == (0 if name == "alternating" else 4)
    assert torch.allclose(plain(ids).logits, fused(ids).logits, atol=1e-4)
    assert texts(fused) == texts(plain)


def texts(network: PreTrainedModel) -> list[list[int]]:
    """Return what rows of several lengths decode to in one batch."""
    answers = Answers()
    batch = Batch(network, limits=Limits(4, 24))
    requests = [answers.request(prompt, 12) for prompt in prompts(6)]
    batch.waiting.extend(requests)
    run(batch)
    return [answers.tokens[request] for request in requests]


def test_each_step_prefills_no_more_than_its_budget() -> None:
    answers = Answers()
    batch = Batch(NETWORK, limits=Limits(8, 16))
    requests = [answers.request(PROMPT[:7], 50) for _ in range(5)]
    batch.waiting.extend(requests)

    filled = []
    for _ in range(3):
        batch.step()
        filled.append(sum(min(request.n_cached, 7) for request in requests))

    assert filled == [14, 28, 35]


def test_a_row_that_went_wrong_leaves_nothing_behind() -> None:
    answers = Answers()
    failures: list[Outcome] = []
    network = networks()["full"].eval()
    batch = Batch(network, limits=Limits(2, 64))
    broken = answers.request([96, 3, 4, 5, 6, 7, 8, 9, 10], 3)
    broken.deliver = lambda _, outcome: failures.append(outcome)
    network.get_input_embeddings().weight.data[96] = torch.nan
    batch.waiting.append(broken)
    run(batch)
    prompt = [token for token in PROMPT if token != 96]

    requests = [answers.request(prompt[:n], 3) for n in (3, 5)]
    batch.waiting.extend(requests)
    run(batch)

    assert isinstance(failures[0], UnavailableError)
    assert [len(answers.tokens[request]) for request in requests] == [3, 3]


def test_models_whose_rows_cannot_share_a_batch_are_refused() -> None:
    config = MambaConfig(vocab_size=97, hidden_size=16, num_hidden_layers=1, state_size=4)

    with pytest.raises(ModelLoadError, match="layers of type"):
        Batch(MambaForCausalLM(config), limits=Limits(1, 16))


def sampler(seed: int = 0, **parameters: Any) -> Sampler:
    return Sampler.of(GenerationParameters.model_validate({"seed": seed, **parameters}))


def draws(logits: list[float], n: int = 4000, **parameters: Any) -> Counter[int]:
    one = sampler(**{"temperature": 1, **parameters})
    rows = torch.tensor([logits]).expand(n, -1)
    return Counter(choose(rows, [one] * n))


def test_without_temperature_the_best_token_is_chosen() -> None:
    assert choose(torch.tensor([[0.0, 2.0, 1.0]]), [sampler()]) == [1]


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    probabilities = [0.5, 0.3, 0.15, 0.05]

    counts = draws(torch.tensor(probabilities).log().tolist())

    for token, probability in enumerate(probabilities):
        assert counts[token] / 4000 == pytest.approx(probability, abs=0.03)


def test_top_k_keeps_the_most_likely() -> None:
    assert set(draws([1.0, 3.0, 2.0, 2.5], top_k=2)) == {1, 3}


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = torch.tensor([0.05, 0.5, 0.3, 0.15]).log().tolist()

    assert set(draws(logits, top_p=0.79)) == {1, 2}
    assert set(draws(logits, top_p=0.01)) == {1}


def test_a_tiny_temperature_is_greedy() -> None:
    assert set(draws([10.0, 10.1, -50.0], n=50, temperature=1e-6)) == {1}


def test_a_row_is_drawn_the_same_beside_any_others() -> None:
    logits = torch.randn(6, 50)
    kinds: list[dict[str, Any]] = [
        {"temperature": 1.0, "top_p": 0.8},
        {"temperature": 0.5, "top_k": 5},
        {},
    ] * 2

    together = choose(logits, [sampler(i, **kw) for i, kw in enumerate(kinds)])
    alone = [choose(logits[i : i + 1], [sampler(i, **kw)])[0] for i, kw in enumerate(kinds)]

    assert together == alone


def test_a_row_that_is_not_finite_is_marked() -> None:
    logits = torch.tensor([[0.0, torch.nan], [0.0, 1.0]])

    assert choose(logits, [sampler(), sampler()]) == [-1, 1]
