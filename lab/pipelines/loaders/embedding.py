"""Models that make embeddings."""

from typing import TYPE_CHECKING

from lab.pipelines.need import Prospect
from lab.pipelines.residency import Growth, Loader
from lab.schemas.chat_config import Quantization
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.model import Model

if TYPE_CHECKING:
    from lab.pipelines.embedding import SentenceEmbedding


def embedding_loader(
    config: EmbeddingConfig, threads: int | None, model: Model
) -> "Loader[Quantization, SentenceEmbedding]":
    """Return how a model is loaded; on a CPU it may use so many threads."""

    def foretell() -> Prospect[Quantization]:
        from lab.pipelines.load import foretell_embedding  # noqa: PLC0415 - imports torch

        return foretell_embedding(model, config)

    def load(form: Quantization, growth: Growth) -> "SentenceEmbedding":
        from lab.pipelines.load import load_embedding  # noqa: PLC0415 - imports torch

        there = config.model_copy(update={"device": growth.device})
        return load_embedding(model, there, threads)

    return Loader(foretell, load)
