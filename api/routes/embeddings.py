"""Embeddings, as OpenAI's clients speak them."""

import base64

from fastapi import APIRouter

from api.deps import InferDep, RuntimeDep
from lab.errors import InputError, UnknownModelError
from lab.protocols import EmbeddingKind, FloatArray
from lab.schemas.embedding import Embedding
from lab.schemas.embedding_list import EmbeddingList
from lab.schemas.embedding_usage import EmbeddingUsage
from lab.schemas.embeddings_request import EmbeddingsRequest, InputType
from lab.schemas.encoding_format import EncodingFormat

router = APIRouter(prefix="/v1", tags=["embeddings"])

MAX_TEXTS = 2048


@router.post("/embeddings")
async def create_embeddings(
    request: EmbeddingsRequest, runtime: RuntimeDep, owner: InferDep
) -> EmbeddingList:
    """Return one unit vector for each text."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not texts or len(texts) > MAX_TEXTS or not all(text.strip() for text in texts):
        raise InputError(
            f"`input`: 1 to {MAX_TEXTS} texts that are not empty are expected, got {len(texts)}."
        )
    async with runtime.pipelines.embedding() as pipeline:
        model = pipeline.model
        if request.model not in (None, model.id):
            raise UnknownModelError(request.model, [model.id])
        kind: EmbeddingKind = "query" if request.input_type is InputType.query else "document"
        dim = request.dimensions
        vectors = (await pipeline.embed(texts, kind=kind, dimensions=dim))[:, : dim or model.dim]
        n_tokens = pipeline.count_tokens(texts)
    return EmbeddingList(
        model=model.id,
        data=[
            Embedding(index=i, embedding=_encoded(vector, request.encoding_format))
            for i, vector in enumerate(vectors)
        ],
        usage=EmbeddingUsage(prompt_tokens=n_tokens, total_tokens=n_tokens),
    )


def _encoded(vector: FloatArray, encoding: EncodingFormat | None) -> str | list[float]:
    """Write a (D,) vector as numbers, or as base64 of little-endian float32."""
    if encoding is not EncodingFormat.base64:
        numbers: list[float] = vector.tolist()
        return numbers
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
