"""Chat models whose servers the lab starts, in processes of its own."""

from collections import defaultdict
from typing import TYPE_CHECKING

from lab.pipelines.need import Prospect
from lab.pipelines.residency import Growth, Loader
from lab.pipelines.tally import Tally
from lab.schemas.chat_config import Quantization
from lab.schemas.llama_cpp_config import LlamaCppConfig
from lab.schemas.model import Model
from lab.schemas.vllm_config import VllmConfig

if TYPE_CHECKING:
    from lab.pipelines.served.chat import ServedChat


def vllm_loader(
    config: VllmConfig, tallies: "defaultdict[str, Tally]", model: Model
) -> "Loader[Quantization, ServedChat]":
    """Return how vLLM is started with a model; `tallies` count its tokens."""

    def foretell() -> Prospect[Quantization]:
        from lab.pipelines.vllm.chat import foretell_vllm  # noqa: PLC0415 - imports torch

        return foretell_vllm(model, config)

    def load(form: Quantization, growth: Growth) -> "ServedChat":
        from lab.pipelines.vllm.chat import load_vllm  # noqa: PLC0415 - imports torch

        return load_vllm(model, config, growth.device, tallies[model.id], growth.closes)

    return Loader(foretell, load)


def llama_cpp_loader(
    config: LlamaCppConfig, tallies: "defaultdict[str, Tally]", model: Model
) -> "Loader[Quantization, ServedChat]":
    """Return how llama.cpp's server is started with a model; `tallies` count its tokens."""

    def foretell() -> Prospect[Quantization]:
        from lab.pipelines.llama_cpp.chat import (  # noqa: PLC0415 - imports torch
            foretell_llama_cpp,
        )

        return foretell_llama_cpp(model, config)

    def load(form: Quantization, growth: Growth) -> "ServedChat":
        from lab.pipelines.llama_cpp.chat import load_llama_cpp  # noqa: PLC0415 - imports torch

        return load_llama_cpp(model, config, growth.device, tallies[model.id], growth.closes)

    return Loader(foretell, load)
