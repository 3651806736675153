"""Models made of others: an adapter merged in, weights in another format or in 8 or 4 bits."""

import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import PickleError
from typing import Final, cast

import torch
from peft import PeftModel, PeftType
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from lab.errors import InputError
from lab.pipelines.building import BUILDING
from lab.pipelines.checking import check_config, check_weights
from lab.pipelines.description import here, read_json
from lab.pipelines.files import file_bytes
from lab.pipelines.llama_cpp.gguf_file import gguf_bytes
from lab.pipelines.llama_cpp.settings import is_gguf
from lab.pipelines.loading import built, first_line, is_quantized
from lab.pipelines.new_folder import new_folder
from lab.schemas.chat_config import Dtype, Quantization
from lab.schemas.model import Model

ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
SHARE: Final = {Quantization.int8: 0.6, Quantization.nf4: 0.5}
"""Most that a form takes of 16-bit weights, embeddings included."""
UNPACKED: Final = 4
"""Times a file in GGUF of some 8 bits a weight that its weights take in float32."""
UNFIT: Final = (
    *(ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError, UserWarning),
    *(PickleError, struct.error),
)
"""What the libraries raise for files that do not fit."""
Tell = Callable[[str], None]
"""Told what is being done."""


def merge_lora(model: Model, adapter: Path, out: Path, tell: Tell) -> None:
    """
    Write a model with a LoRA adapter merged into its weights to a new folder; blocks.

    Parameters
    ----------
    model : Model
        What the adapter was made for; its files are here, and not quantized.
    adapter : Path
        Folder that peft saved.
    out : Path
        The new folder: whole or absent.
    tell : callable
        Told each step.

    Raises
    ------
    InputError
        If the model or adapter is none, they do not fit each other, or there is no room.
    ConflictError
        If `out` is there.
    """
    folder = _source(model)
    _check_adapter(adapter)
    with new_folder(out, file_bytes(folder)) as part:
        tell(f"Loading {model.id}")
        network, tokenizer = _loaded(folder)
        tell(f"Merging {adapter.name}")
        with _clear_errors(f"{adapter} does not fit `{model.id}`"):
            _check_covered(network, adapter)
            merged = _merged(network, adapter)
        tell(f"Writing {out.name}")
        _write(model, merged, tokenizer, part)


def convert(model: Model, dtype: Dtype, out: Path, tell: Tell) -> None:
    """
    Write a model as the lab loads it, in another number format, to a new folder; blocks.

    Parameters
    ----------
    model : Model
        Its source is a file in GGUF, or a folder with safetensors or PyTorch's own files, of which
        tensors alone are read.
    dtype : Dtype
        Of the weights; `auto` = as they are, and float32 of a file in GGUF.
    out : Path
        The new folder: whole or absent.
    tell : callable
        Told each step.

    Raises
    ------
    InputError
        If the model is none, is quantized in another way, or there is no room.
    ConflictError
        If `out` is there.
    """
    file = Path(model.source)
    if is_gguf(model.source):
        folder, where = file.parent, {"gguf_file": file.name}
        form = {"quantization_config": GgufConfig(dequantize=True)}
        n_bytes = gguf_bytes(file) * UNPACKED
    else:
        folder, where, form = _unquantized(model), {}, {}
        n_bytes = sum(one.stat().st_size for one in folder.iterdir() if one.is_file())
    wanted = "auto" if dtype is Dtype.auto else getattr(torch, dtype.value)
    with new_folder(out, n_bytes) as part:
        tell(f"Loading {model.id}")
        logging.disable_progress_bar()
        with _clear_errors(f"`{model.id}` cannot be converted"), BUILDING:
            network = AutoModelForCausalLM.from_pretrained(folder, dtype=wanted, **where, **form)
            tokenizer = AutoTokenizer.from_pretrained(folder, **where)
        tell(f"Writing {out.name}")
        _write(model, network, tokenizer, part)


def quantize(model: Model, form: Quantization, out: Path, tell: Tell) -> None:
    """
    Write a model with its linear layers in 8 or 4 bits to a new folder; blocks.

    Parameters
    ----------
    model : Model
        Its files are here, and not quantized.
    form : Quantization
        `int8` or `nf4`.
    out : Path
        The new folder: whole or absent.
    tell : callable
        Told each step.

    Raises
    ------
    InputError
        If the model is none, the form is no other, or there is no room.
    ConflictError
        If `out` is there.
    """
    if form not in SHARE:
        raise InputError(f"`{form}` is no form to write; choose {' or '.join(SHARE)}.")
    folder = _source(model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with new_folder(out, int(file_bytes(folder) * SHARE[form])) as part:
        tell(f"Loading {model.id} as {form}")
        with _clear_errors(f"`{model.id}` cannot be loaded as {form}"):
            config = AutoConfig.from_pretrained(folder)
            dtype = config.get_text_config(decoder=True).dtype or torch.bfloat16
            network = built(folder, config, dtype, form, device)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        tell(f"Writing {out.name}")
        _write(model, network, tokenizer, part)


def _source(model: Model) -> Path:
    """Return the folder of a model that can be made into another."""
    folder = _unquantized(model)
    check_weights(model, folder)
    return folder


def _unquantized(model: Model) -> Path:
    """Return the folder of a model whose weights are numbers."""
    folder = here(model)
    if folder is None:
        raise InputError(
            f"The files of `{model.id}` are not on this machine; fetch them: `lab models pull "
            f"{model.id}`."
        )
    check_config(model, folder)
    if is_quantized(AutoConfig.from_pretrained(folder)):
        raise InputError(
            f"`{model.id}` is quantized already, which loses what is needed here; give the model "
            "that it was made from."
        )
    return folder


def _check_adapter(adapter: Path) -> None:
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise InputError(f"{adapter} has no {ADAPTER_CONFIG}; give a folder that peft saved.")
    if not (adapter / ADAPTER_WEIGHTS).is_file():
        raise InputError(f"{adapter} has no {ADAPTER_WEIGHTS}; give a folder that peft saved.")
    kind = read_json(adapter / ADAPTER_CONFIG).get("peft_type")
    if kind != PeftType.LORA:
        raise InputError(
            f"{adapter} is an adapter of the kind {kind}; {PeftType.LORA} is expected."
        )


def _merged(network: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    with warnings.catch_warnings():
        # What peft leaves out of an adapter it only warns of.
        warnings.simplefilter("error", UserWarning)
        # What it asks of transformers was renamed there.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        joined = PeftModel.from_pretrained(network, str(adapter))
    return cast("PreTrainedModel", joined.merge_and_unload(safe_merge=True))


def _check_covered(network: PreTrainedModel, adapter: Path) -> None:
    """Raise `ValueError` where an adapter is of layers that are not there: peft leaves them out."""
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as weights:
        names = [name.removeprefix("base_model.model.") for name in weights.keys()]  # noqa: SIM118
    modules = {name for name, _ in network.named_modules()}
    lost = [name for name in names if name.partition(".lora_")[0] not in modules]
    lost = [name for name in lost if ".lora_" in name]
    if lost:
        raise ValueError(f"it changes {len(lost)} weights that the model has not, as {lost[0]}")


def _loaded(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    logging.disable_progress_bar()
    with BUILDING:
        network = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    return network, AutoTokenizer.from_pretrained(folder)


def _write(
    model: Model, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """Write what was made, and look at it as at any model that is added."""
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    check_config(model, folder)
    check_weights(model, folder)


@contextmanager
def _clear_errors(what: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except UNFIT as error:
        raise InputError(f"{what}: {first_line(error)}.") from error
