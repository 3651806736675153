"""Make pipelines; importing this module imports torch."""

from lab.pipelines.chat import TransformersChat
from lab.pipelines.embedding import SentenceEmbedding
from lab.pipelines.loading import load_causal
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.model import Model


def load_chat(model: Model, config: ChatConfig) -> TransformersChat:
    """Load a chat model; blocks, and raises `ModelLoadError` when it cannot be had."""
    network, tokenizer = load_causal(model, config)
    return TransformersChat(model, network, tokenizer, config=config)


def load_embedding(model: Model, config: EmbeddingConfig) -> SentenceEmbedding:
    """Load an embedding model; blocks, and raises `ModelLoadError` when it cannot be had."""
    return SentenceEmbedding.load(model, config)
