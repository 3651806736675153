"""Documents ranked by a question, and texts embedded for another, as clients ask for it."""

from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest

from lab.client import connect
from lab.db import Database
from lab.errors import ConfigError, InputError
from tests.api_server import Api, running_api
from tests.tiny_rerankers import save_tiny_cross_encoder

pytestmark = pytest.mark.integration

DOCUMENTS = ["It rained all day.", "The dog lives in Belora.", "42 " * 400]


@pytest.fixture(scope="module")
async def reranking_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    folder = tmp_path_factory.mktemp("reranking")
    variables = {
        "LAB_DATA_FOLDER": str(folder / "data"),
        "LAB_RERANK_MODEL": str(save_tiny_cross_encoder(folder / "tiny-cross")),
    }
    async with running_api(database_url, **variables) as running:
        yield running


async def post(api: Api, token: str, **body: object) -> httpx.Response:
    async with api.client(token) as client:
        return await client.post("/v1/rerank", json=body)


async def test_documents_come_back_the_best_first(
    reranking_app: Api, database: Database, ann: str
) -> None:
    async with connect(reranking_app.url, ann) as lab:
        ranked = await lab.rerank("Where does the dog live?", DOCUMENTS)
        (best,) = await lab.rerank("Where does the dog live?", DOCUMENTS, top_n=1)
        cards = {card.id: card for card in await lab.models()}

    scores = [result.relevance_score for result in ranked]
    assert sorted(result.index for result in ranked) == [0, 1, 2]
    assert scores == sorted(scores, reverse=True)
    assert best == ranked[0]
    assert (cards["tiny-cross"].task, cards["tiny-cross"].loaded) == ("rerank", True)


async def test_the_shape_is_that_of_cohere_and_jina(
    reranking_app: Api, database: Database, ann: str
) -> None:
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1]}]
    answer = await post(
        reranking_app,
        ann,
        model="tiny-cross",
        query="Where?",
        documents=documents,
        top_n=5,
        return_documents=True,
    )

    content = answer.json()
    assert answer.status_code == 200
    assert {r["index"]: r["document"]["text"] for r in content["results"]} == dict(
        enumerate(DOCUMENTS[:2])
    )
    assert content["usage"]["total_tokens"] > 10


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"query": "Where?", "documents": []}, 400, "`documents`: 1 to 1000"),
        ({"query": " ", "documents": ["x"]}, 400, "`query`"),
        ({"query": "where " * 500, "documents": ["x"]}, 400, "LAB_RERANK_MAX_TOKENS"),
        ({"query": "Where?", "documents": ["x"], "model": "other"}, 404, "tiny-cross"),
        ({"query": "Where?", "documents": [1]}, 400, "`documents.0"),
    ],
)
async def test_bad_input_is_named(
    reranking_app: Api,
    database: Database,
    ann: str,
    body: dict[str, object],
    status: int,
    said: str,
) -> None:
    answer = await post(reranking_app, ann, **body)

    assert (answer.status_code, said in answer.text) == (status, True), answer.text


async def test_without_a_reranker_the_answer_says_what_to_set(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        with pytest.raises(ConfigError, match="LAB_RERANK_MODEL"):
            await lab.rerank("Where?", ["Here."])


async def test_texts_are_embedded_for_questions_and_never_cut_against_the_model(
    api: Api, ann: str
) -> None:
    async with connect(api.url, ann) as lab:
        asked = await lab.embed("a dog", kind="query")
        kept = await lab.embed(["a dog", "a cat", "a dog"], dimensions=384)
        with pytest.raises(InputError, match="LAB_EMBEDDING_MATRYOSHKA"):
            await lab.embed("a dog", dimensions=64)

    assert kept.shape == (3, 384)
    np.testing.assert_allclose(kept[0], kept[2])
    np.testing.assert_allclose(asked[0], kept[0], atol=1e-5)  # MiniLM has no prefixes
