"""Training from scratch, on one core if need be; stops and resumes without a trace in the weights."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from lab.errors import InputError
from lab.training.examples import Batch, Encoder, draw_group
from lab.training.forward import hidden_states
from lab.training.induction import write_induction_heads
from lab.training.muon import Muon
from lab.training.recipe import Phase, Recipe
from lab.training.tokenizer import CONTEXT_LENGTH


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a step."""

    step: int
    phase: str
    n_tokens: int
    total_tokens: int
    loss: float
    tokens_per_s: float


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Return an untrained model of the recipe, which can copy already."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.phases[0].n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        max_position_embeddings=CONTEXT_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": recipe.rope_theta},
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    write_induction_heads(model, recipe.seed)
    return model


def grow(model: LlamaForCausalLM, n_layers: int) -> None:
    """Put layers on top until there are so many; the model says what it said before.

    Each is a copy of one that was on top, and writes nothing until it has learnt to.

    References
    ----------
    Gong et al., "Efficient training of BERT by progressively stacking", 2019.
    """
    layers = model.model.layers
    n_new = n_layers - len(layers)
    for _ in range(n_new):
        layer = copy.deepcopy(layers[-n_new])
        for part in (layer.self_attn.o_proj, layer.mlp.down_proj):
            torch.nn.init.zeros_(part.weight)
        layer.self_attn.layer_idx = len(layers)
        layers.append(layer)
    model.config.num_hidden_layers = n_layers


def batch_loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Return the weighted loss of what the model has to say; logits of shape (N, V) for those N tokens only."""
    said = batch.weights[:, 1:] > 0
    logits = model.lm_head(hidden_states(model, batch.input_ids[:, :-1], said))
    losses = functional.cross_entropy(logits, batch.input_ids[:, 1:][said], reduction="none")
    weights = batch.weights[:, 1:][said]
    return (losses * weights).sum() / weights.sum()


class Trainer:
    """A training that can be stopped after any step.

    Parameters
    ----------
    recipe : Recipe
        What to do.
    tokenizer : PreTrainedTokenizerBase
        Of the recipe's vocabulary size.
    """

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.model = build_model(recipe, tokenizer)
        self.encoder = Encoder(tokenizer)
        self._make_optimizers()
        self.base_rates = (recipe.muon_lr, recipe.adam_lr)
        self.step = self.n_tokens = self.phase = self.group = self.index = 0

    def _make_optimizers(self) -> None:
        matrices = [
            p for name, p in self.model.named_parameters() if p.ndim == 2 and "embed" not in name
        ]
        others = [p for name, p in self.model.named_parameters() if p.ndim != 2 or "embed" in name]
        decay = self.recipe.weight_decay
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon(matrices, lr=self.recipe.muon_lr, weight_decay=decay),
            torch.optim.AdamW(others, lr=self.recipe.adam_lr, weight_decay=0.0, betas=(0.9, 0.98)),
        )

    # --- steps ------------------------------------------------------------------------------------

    def steps(self) -> Iterator[Progress]:
        """Train to the end of the recipe, step by step."""
        while self.n_tokens < self.recipe.n_tokens:
            phase = self._enter_phase()
            seed = self.recipe.seed * 1_000_003 + self.group
            batches = draw_group(
                self.encoder, phase.mix, seed, self.recipe.batch_tokens, phase.max_length
            )
            while self.index < len(batches):
                batch = batches[self.index]
                self.index += 1
                yield self._train(batch, phase.name)
            self.phase, _ = self._where()
            self.group, self.index = self.group + 1, 0

    def _train(self, batch: Batch, phase: str) -> Progress:
        started = time.perf_counter()
        rate = self._rate()
        for optimizer, base in zip(self.optimizers, self.base_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base * rate
        loss = batch_loss(self.model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        read = sum(len(example.input_ids) for example in batch.examples)
        self.step += 1
        self.n_tokens += read
        return Progress(
            self.step,
            phase,
            self.n_tokens,
            self.recipe.n_tokens,
            loss.item(),
            read / (time.perf_counter() - started),
        )

    def _enter_phase(self) -> Phase:
        """Return the phase of the present group, for which the model is now deep enough."""
        phase = self.recipe.phases[self.phase]
        if phase.n_layers > self.model.config.num_hidden_layers:
            grow(self.model, phase.n_layers)
            self._make_optimizers()
        return phase

    def _where(self) -> tuple[int, float]:
        """Return which phase the tokens read so far lead to, and how far into it, from 0 to 1."""
        before = 0
        for i, phase in enumerate(self.recipe.phases):
            if self.n_tokens < before + phase.n_tokens:
                return i, (self.n_tokens - before) / phase.n_tokens
            before += phase.n_tokens
        return len(self.recipe.phases) - 1, 1.0

    def _rate(self) -> float:
        phase, part = self._where()
        first, last = self.recipe.phases[phase].learning_rate
        return min(1.0, (self.step + 1) / self.recipe.warmup_steps) * (
            first + (last - first) * part
        )

    # --- checkpoints ------------------------------------------------------------------------------

    def save(self, file: Path) -> None:
        """Write everything that the next step depends on."""
        state = {
            "recipe": repr(self.recipe),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "place": (self.step, self.n_tokens, self.phase, self.group, self.index),
        }
        part = file.with_suffix(".part")
        torch.save(state, part)
        part.replace(file)

    def load(self, file: Path) -> None:
        """Go on from a checkpoint; raise `InputError` when it is of another recipe."""
        state = torch.load(file, weights_only=True)
        if state["recipe"] != repr(self.recipe):
            raise InputError(
                f"{file} was made by another recipe than this one; train in another folder, or "
                "remove it to start anew."
            )
        self.step, self.n_tokens, self.phase, self.group, self.index = state["place"]
        self._enter_phase()
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
