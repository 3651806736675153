"""Writing a trained model where others load it."""

import shutil
import tempfile
from pathlib import Path

from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerBase


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write weights, settings, tokenizer and chat template; each file is whole at any moment.

    Parameters
    ----------
    model : LlamaForCausalLM
        What was trained.
    tokenizer : PreTrainedTokenizerBase
        Of the same vocabulary.
    folder : Path
        Made if it does not exist; other files in it are left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=128,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        part = Path(name)
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        for file in sorted(part.iterdir()):
            shutil.copymode(Path(__file__), file)
            file.replace(folder / file.name)
