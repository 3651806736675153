"""Foretell and make pipelines; importing this module imports torch."""

from lab.pipelines.chat import TransformersChat
from lab.pipelines.embedding import SentenceEmbedding
from lab.pipelines.loading import foretell_chat, load_causal, load_sight
from lab.pipelines.reranking import Reranker
from lab.pipelines.room import Room
from lab.pipelines.tally import Tally
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.image_config import ImageConfig
from lab.schemas.model import Model

__all__ = [
    "foretell_chat",
    "foretell_embedding",
    "foretell_rerank",
    "load_chat",
    "load_embedding",
    "load_rerank",
]

MAX_PIXELS = ImageConfig().max_upload_pixels

foretell_embedding = SentenceEmbedding.foretell
foretell_rerank = Reranker.foretell
load_rerank = Reranker.load


def load_chat(
    model: Model,
    config: ChatConfig,
    form: Quantization = Quantization.none,
    tally: Tally | None = None,
    room: Room | None = None,
    weight_bytes: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> TransformersChat:
    """Load a chat model in a form; blocks, and raises `ModelLoadError` when it cannot be had."""
    network, tokenizer = load_causal(model, config, form, weight_bytes)
    sight = load_sight(model, network, tokenizer, max_pixels)
    return TransformersChat(
        model, network, tokenizer, config=config, tally=tally, sight=sight, room=room
    )


def load_embedding(
    model: Model, config: EmbeddingConfig, threads: int | None = None
) -> SentenceEmbedding:
    """Load an embedding model; blocks, and raises `ModelLoadError` when it cannot be had."""
    return SentenceEmbedding.load(model, config, threads)
