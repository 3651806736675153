"""Documents ranked by a question, as clients of Cohere, Jina and vLLM ask for it."""

from uuid import uuid4

import numpy as np
from fastapi import APIRouter, Request

from api.deps import InferDep, RuntimeDep
from api.disconnect import unless_gone
from lab.errors import InputError, UnknownModelError
from lab.runtime import Runtime
from lab.schemas.embedding_usage import EmbeddingUsage
from lab.schemas.rerank_document import RerankDocument
from lab.schemas.rerank_request import RerankRequest
from lab.schemas.rerank_response import RerankResponse
from lab.schemas.rerank_result import RerankResult
from lab.schemas.task import Task
from lab.schemas.user import User

router = APIRouter(prefix="/v1", tags=["rerank"])

MAX_DOCUMENTS = 1000


@router.post("/rerank")
async def rerank(
    request: RerankRequest, http: Request, runtime: RuntimeDep, owner: InferDep
) -> RerankResponse:
    """Return how well documents answer a question, the best first."""
    n_documents = len(request.documents)
    if not 1 <= n_documents <= MAX_DOCUMENTS:
        raise InputError(f"`documents`: 1 to {MAX_DOCUMENTS} are expected, got {n_documents}.")
    if not request.query.strip():
        raise InputError("`query`: a question that is not empty is expected.")
    return await unless_gone(http, _ranked(request, runtime, owner))


async def _ranked(request: RerankRequest, runtime: Runtime, owner: User) -> RerankResponse:
    texts = [one.text if isinstance(one, RerankDocument) else one for one in request.documents]
    known = runtime.pipelines.catalog.single(Task.rerank)
    if known is not None and request.model not in (None, known.id):
        raise UnknownModelError(request.model, [known.id])
    async with runtime.pipelines.rerank(owner=owner.id) as pipeline:
        scores, n_tokens = await pipeline.score(request.query, texts)
    order = np.argsort(-scores, kind="stable")[: request.top_n]
    return RerankResponse(
        id=f"rerank-{uuid4().hex}",
        model=pipeline.model.id,
        results=[
            RerankResult(
                index=int(place),
                relevance_score=float(scores[place]),
                document=RerankDocument(text=texts[place]) if request.return_documents else None,
            )
            for place in order
        ],
        usage=EmbeddingUsage(prompt_tokens=n_tokens, total_tokens=n_tokens),
    )
