"""Making `lab-tiny`: from nothing to a folder that others load, in as many sittings as it takes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lab.training.export import export
from lab.training.pretrain import Progress, Trainer
from lab.training.recipe import Recipe
from lab.training.tokenizer import corpus, train_tokenizer

CHECKPOINT: Final = "checkpoint.pt"
TOKENIZER: Final = "tokenizer"
SAVE_EVERY_S: Final = 60.0


def train_tiny(
    work: Path,
    output: Path,
    *,
    recipe: Recipe | None = None,
    n_threads: int | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train the model of a recipe and export it; goes on where an earlier call was stopped.

    Parameters
    ----------
    work : Path
        Holds the tokenizer and the last checkpoint; made if it does not exist.
    output : Path
        Where the finished model goes.
    recipe : Recipe, optional
        The recipe of `lab-tiny` if not given.
    n_threads : int, optional
        Cores to use; all of them if not given.
    on_progress : callable
        Called after each step.

    Raises
    ------
    InputError
        If the checkpoint in `work` is of another recipe.
    """
    recipe = recipe or Recipe()
    if n_threads:
        torch.set_num_threads(n_threads)
    work.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, _tokenizer(work / TOKENIZER, recipe))
    checkpoint = work / CHECKPOINT
    if checkpoint.is_file():
        trainer.load(checkpoint)
    saved = time.monotonic()
    for progress in trainer.steps():
        on_progress(progress)
        if time.monotonic() - saved > SAVE_EVERY_S:
            trainer.save(checkpoint)
            saved = time.monotonic()
    trainer.save(checkpoint)
    export(trainer.model, trainer.tokenizer, output)


def _tokenizer(folder: Path, recipe: Recipe) -> PreTrainedTokenizerBase:
    if not (folder / "tokenizer.json").is_file():
        texts = corpus(recipe.tokenizer_seed, recipe.tokenizer_dialogues)
        train_tokenizer(texts, recipe.vocab_size).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)
