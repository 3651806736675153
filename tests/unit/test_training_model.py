"""How the bundled model is made: first weights, steps, checkpoints, export."""

import copy
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from lab.errors import InputError
from lab.training.evaluate import MODEL_FOLDER, generate, load
from lab.training.forward import hidden_states
from lab.training.muon import orthogonalize
from lab.training.pretrain import Progress, Trainer, build_model, grow
from lab.training.recipe import Phase, Recipe
from lab.training.tiny import train_tiny
from lab.training.tokenizer import corpus, train_tokenizer

SMALL = Recipe(
    vocab_size=600,
    tokenizer_dialogues=100,
    hidden_size=128,
    intermediate_size=96,
    n_heads=4,
    batch_tokens=512,
    phases=(
        Phase("few", 4_000, {"few": 1.0}, max_length=256, n_layers=2),
        Phase("deeper", 6_000, {"few": 1.0}, max_length=256, n_layers=3),
    ),
)


@pytest.fixture(scope="module")
def untrained() -> LlamaForCausalLM:
    return build_model(Recipe(), AutoTokenizer.from_pretrained(MODEL_FOLDER))


@torch.no_grad()
def test_the_short_forward_pass_is_that_of_transformers(untrained: LlamaForCausalLM) -> None:
    ids = torch.randint(0, 2048, (2, 50), generator=torch.Generator().manual_seed(0))

    wanted = ids % 3 == 0
    ours, theirs = hidden_states(untrained, ids, wanted), untrained.model(ids).last_hidden_state

    torch.testing.assert_close(ours, theirs[wanted], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_before_any_training_the_model_repeats_what_it_saw(untrained: LlamaForCausalLM) -> None:
    numbers = random.Random(0)
    words = [numbers.sample(range(8, 2040), 20) for _ in range(16)]
    ids = torch.tensor([word * 3 for word in words])

    # From the second time on, each token follows the one that it followed before.
    again = (torch.arange(60) > 20).expand(16, -1)[:, :-1]
    said = untrained.lm_head(hidden_states(untrained, ids[:, :-1], again)).argmax(dim=-1)

    assert (said == ids[:, 1:][again]).float().mean() > 0.97


def test_prompts_of_any_length_are_answered_together_as_alone() -> None:
    model, tokenizer = load(MODEL_FOLDER)
    prompts = [
        tokenizer(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
        for text in (
            "My dog is called Rexa.",
            "Hello.",
            "My sister's name is Mirolanda. Who is she?",
        )
    ]

    together = generate(model, tokenizer, prompts)

    assert together == [generate(model, tokenizer, [prompt])[0] for prompt in prompts]
    assert all(together)


def test_orthogonal_steps_have_singular_values_near_one() -> None:
    matrices = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(0))

    values = torch.linalg.svdvals(orthogonalize(matrices))

    assert values.min() > 0.6
    assert values.max() < 1.3


@torch.no_grad()
def test_a_model_that_has_grown_says_what_it_said_before(untrained: LlamaForCausalLM) -> None:
    ids = torch.randint(0, 2048, (2, 30), generator=torch.Generator().manual_seed(0))
    deeper = copy.deepcopy(untrained)
    grow(deeper, len(untrained.model.layers) + 2)

    torch.testing.assert_close(deeper(ids).logits, untrained(ids).logits)
    assert len(deeper.model.layers) == deeper.config.num_hidden_layers == 6


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(corpus(1, 100), SMALL.vocab_size)


@pytest.fixture(scope="module")
def never_stopped(tokenizer: PreTrainedTokenizerFast) -> tuple[Trainer, list[float]]:
    """A training from beginning to end, and the loss of each step."""
    trainer = Trainer(SMALL, tokenizer)
    return trainer, [progress.loss for progress in trainer.steps()]


@pytest.mark.parametrize("stopped_after", [3, 19], ids=["before it grows", "after it has grown"])
def test_a_stopped_training_goes_on_as_if_it_had_not_been_stopped(
    stopped_after: int,
    tokenizer: PreTrainedTokenizerFast,
    never_stopped: tuple[Trainer, list[float]],
    tmp_path: Path,
) -> None:
    whole, losses = never_stopped
    first, second = (Trainer(SMALL, tokenizer) for _ in range(2))

    for progress in first.steps():
        if progress.step == stopped_after:
            break
    first.save(tmp_path / "checkpoint.pt")
    second.load(tmp_path / "checkpoint.pt")
    rest = [progress.loss for progress in second.steps()]

    assert rest == losses[stopped_after:]
    assert len(whole.model.model.layers) == 3
    for ours, theirs in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_of_another_recipe_is_refused(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    Trainer(SMALL, tokenizer).save(tmp_path / "checkpoint.pt")

    with pytest.raises(InputError, match="another recipe"):
        Trainer(replace(SMALL, seed=1), tokenizer).load(tmp_path / "checkpoint.pt")


def test_training_ends_with_a_folder_that_transformers_loads(tmp_path: Path) -> None:
    seen: list[Progress] = []

    train_tiny(tmp_path / "work", tmp_path / "model", recipe=SMALL, on_progress=seen.append)

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert seen[-1].n_tokens >= seen[-1].total_tokens == SMALL.n_tokens
    assert seen[-1].loss < seen[0].loss
    assert model.config.vocab_size == SMALL.vocab_size
    assert tokenizer.chat_template
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
