"""Chat models that vLLM runs, in a process of the lab's."""

from collections import defaultdict
from typing import TYPE_CHECKING

from lab.pipelines.need import Prospect
from lab.pipelines.residency import Growth, Loader
from lab.pipelines.tally import Tally
from lab.schemas.chat_config import Quantization
from lab.schemas.model import Model
from lab.schemas.vllm_config import VllmConfig

if TYPE_CHECKING:
    from lab.pipelines.vllm.chat import VllmChat


def vllm_loader(
    config: VllmConfig, tallies: "defaultdict[str, Tally]", model: Model
) -> "Loader[Quantization, VllmChat]":
    """Return how a model is started; `tallies` count its tokens."""

    def foretell() -> Prospect[Quantization]:
        from lab.pipelines.vllm.chat import foretell_vllm  # noqa: PLC0415 - imports torch

        return foretell_vllm(model, config)

    def load(form: Quantization, growth: Growth) -> "VllmChat":
        from lab.pipelines.vllm.chat import load_vllm  # noqa: PLC0415 - imports torch

        return load_vllm(model, config, growth.device, tallies[model.id], growth.closes)

    return Loader(foretell, load)
