"""Models that rank documents by a question."""

from typing import TYPE_CHECKING

from lab.pipelines.need import Prospect
from lab.pipelines.residency import Growth, Loader
from lab.schemas.chat_config import Quantization
from lab.schemas.model import Model
from lab.schemas.rerank_config import RerankConfig

if TYPE_CHECKING:
    from lab.pipelines.reranking import Reranker


def rerank_loader(config: RerankConfig, model: Model) -> "Loader[Quantization, Reranker]":
    """Return how a model is loaded."""

    def foretell() -> Prospect[Quantization]:
        from lab.pipelines.load import foretell_rerank  # noqa: PLC0415 - imports torch

        return foretell_rerank(model, config)

    def load(form: Quantization, growth: Growth) -> "Reranker":
        from lab.pipelines.load import load_rerank  # noqa: PLC0415 - imports torch

        return load_rerank(model, config.model_copy(update={"device": growth.device}))

    return Loader(foretell, load)
