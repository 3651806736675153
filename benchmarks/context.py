"""
What recall puts into a window: `python -m benchmarks.context --data FILE`.

The file holds conversations in LoCoMo's format: sessions with dates, and questions with the turns
that hold their answers. Every turn is stored as the lab stores it, and every question gets a window
from the lab's recall and assembler. Measured is which part of the answering turns stands in it. The
peers get the same turns, with speaker and date, and the same budget.

References
----------
Maharana et al., "Evaluating very long-term conversational memory of LLM agents", 2024.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from rich.progress import track

from benchmarks.report import Row, report
from lab.config import load_settings
from lab.context import Budget, Candidate, assemble, memories, shared_words, words_of
from lab.evals.dialogues import Asked, Said
from lab.evals.evidence import Outcome, Scores, judge, score, score_by_kind
from lab.evals.locomo import read_dialogues
from lab.pipelines.catalog import minilm_folder
from lab.protocols import EmbeddingPipeline, FloatArray
from lab.runtime import Runtime, open_runtime
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role
from lab.schemas.source_kind import SourceKind
from lab.schemas.text_part import TextPart
from lab.workflows.question import Question
from lab.workflows.recall import recall
from lab.workflows.turns import Turn, Turns

AIMS = {512: 0.78, 1024: 0.85, 2048: 0.90, 4096: 0.94}
"""Least share of the evidence in a window, by its tokens."""
ALL_AIM, ALL_AT = 0.85, 2048
MINILM_DIM = 384

Ranking = Sequence[int]
"""Places of turns, best first."""


# --- rankings -------------------------------------------------------------------------------------


async def lab_ranking(
    runtime: Runtime, embedding: EmbeddingPipeline, owner: UUID, said: Sequence[Said]
) -> Callable[[str], Any]:
    """Store a conversation, and return what ranks its turns beside a question."""
    async with runtime.database.stores(owner) as stores:
        conversation = await stores.conversations.create("LoCoMo")
    turns = Turns(runtime.database, owner, conversation.id, embedding)
    stored = await turns.keep_turns(
        [Turn(t.role, [TextPart(text=t.text)], t.name, t.at) for t in said], None
    )
    places = {message.id: i for i, message in enumerate(stored)}

    async def rank(question: str) -> Ranking:
        asked = Question(question, embedding)
        async with runtime.database.stores(owner) as stores:
            found = await recall(stores, asked, top_k=len(said), conversation_id=conversation.id)
        return [places[hit.memory.message_id] for hit in found.hits]

    return rank


def lines(said: Sequence[Said]) -> list[str]:
    """Return each turn with its date and speaker, as the peers get it."""
    return [f"{turn.at:%Y-%m-%d} {turn.speaker}: {turn.text}" for turn in said]


def bm25_ranking(said: Sequence[Said]) -> Callable[[str], Ranking]:
    """Return BM25 over the words of each turn."""
    turns = [words_of(line) for line in lines(said)]
    return lambda question: list(
        np.argsort(-shared_words(words_of(question), turns), kind="stable")
    )


def langchain_ranking(said: Sequence[Said], embeddings: Embeddings) -> Callable[[str], Ranking]:
    """Return LangChain's vector store as a retriever."""
    store = InMemoryVectorStore(embeddings)
    store.add_texts(lines(said), metadatas=[{"place": i} for i in range(len(said))])
    retriever = store.as_retriever(search_kwargs={"k": len(said)})
    return lambda question: [found.metadata["place"] for found in retriever.invoke(question)]


def mem0_ranking(said: Sequence[Said], folder: Path) -> Callable[[str], Ranking]:
    """Return mem0's search; without inference, so that it keeps what was said as it was said."""
    # Both are read on import: no word to anybody, and no file at home.
    os.environ |= {"MEM0_TELEMETRY": "False", "MEM0_DIR": str(folder)}  # noqa: TID251
    from mem0 import Memory  # noqa: PLC0415

    model = {"model": str(minilm_folder()), "embedding_dims": MINILM_DIM}
    memory = Memory.from_config(
        {
            "embedder": {"provider": "huggingface", "config": model},
            "vector_store": {
                "provider": "qdrant",
                "config": {
                    "path": str(folder / uuid4().hex),  # one process, one store a folder
                    "embedding_model_dims": MINILM_DIM,
                },
            },
            "llm": {"provider": "openai", "config": {"api_key": "asked for, and never used"}},
            "history_db_path": ":memory:",
        }
    )
    for place, line in enumerate(lines(said)):
        memory.add(line, user_id="bench", metadata={"place": place}, infer=False)

    def rank(question: str) -> Ranking:
        found = memory.search(
            question, filters={"user_id": "bench"}, top_k=len(said), threshold=0.0
        )
        return [hit["metadata"]["place"] for hit in found["results"]]

    return rank


class KnownEmbeddings(Embeddings):
    """The lab's own vectors for LangChain, so that both have the same."""

    def __init__(self, vectors: Mapping[str, FloatArray]) -> None:
        self._vectors = vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts."""
        return [self._vectors[text].tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question."""
        return self._vectors[text].tolist()


# --- windows --------------------------------------------------------------------------------------


def outcome(
    question: Asked, ranking: Ranking, said: Sequence[Said], count_text: Callable[[str], int]
) -> Outcome:
    """Build a window for each budget, and look which evidence stands in it."""
    memories = [
        Candidate(said[place].message, said_at=said[place].at, position=place) for place in ranking
    ]
    windows = {tokens: _window(question, memories, tokens, count_text) for tokens in AIMS}
    return judge(question, ranking, windows)


def _window(
    question: Asked, found: Sequence[Candidate], tokens: int, count_text: Callable[[str], int]
) -> set[int]:
    def count(messages: Sequence[ChatMessage]) -> int:
        return sum(count_text(message.content or "") for message in messages)

    asked = [ChatMessage(role=Role.user, content=question.text)]
    window = assemble(
        "",
        system=None,
        history=[],
        sources=[memories(found, share=1.0, most=len(found))],
        question=asked,
        budget=Budget(context_length=tokens + count(asked), answer_tokens=0),
        count=count,
        count_text=count_text,
    )
    there = {
        (item.said_at, item.text)
        for item in window.receipt.items
        if item.kind is SourceKind.memory and item.included
    }
    return {turn.position for turn in found if (turn.said_at, turn.text) in there}


async def measure(file: Path) -> dict[str, list[Outcome]]:
    """Return how each question fared with each ranking."""
    outcomes: dict[str, list[Outcome]] = {}
    with TemporaryDirectory(prefix="lab-bench-") as folder:
        Path(folder).chmod(0o711)
        settings = load_settings(environ={"LAB_DATA_FOLDER": folder, "LAB_DATABASE_PORT": "18432"})
        async with open_runtime(settings) as runtime, runtime.pipelines.embedding() as embedding:
            async with runtime.database.accounts() as accounts:
                owner = await accounts.get_or_create("bench")
            counted: dict[str, int] = {}

            def count_text(text: str) -> int:
                if text not in counted:
                    counted[text] = embedding.count_tokens([text]) - 2 if text else 0
                return counted[text]

            for dialogue in track(read_dialogues(file), "Dialogues"):
                said = dialogue.said
                texts = [*lines(said), *(q.text for q in dialogue.asked)]
                vectors = dict(zip(texts, await embedding.embed(texts), strict=True))
                rank = await lab_ranking(runtime, embedding, owner.id, said)
                peers = {
                    "BM25": bm25_ranking(said),
                    "LangChain InMemoryVectorStore": langchain_ranking(
                        said, KnownEmbeddings(vectors)
                    ),
                    "mem0 without inference": mem0_ranking(said, Path(folder) / "mem0"),
                }
                for question in dialogue.asked:
                    rankings = {"lab": await rank(question.text)}
                    rankings |= {name: peer(question.text) for name, peer in peers.items()}
                    for name, ranking in rankings.items():
                        outcomes.setdefault(name, []).append(
                            outcome(question, ranking, said, count_text)
                        )
    return outcomes


def figures(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, dict[str, str]]:
    """Return a row for each ranking, and for the lab's by kind of question."""
    table = {name: _cells(score(of)) for name, of in outcomes.items()}
    for kind, scores in score_by_kind(outcomes["lab"]).items():
        table[f"lab, {kind} ({scores.n} questions)"] = _cells(scores)
    return table


def _cells(scores: Scores) -> dict[str, str]:
    cells = {f"{tokens} tokens": share for tokens, share in scores.recall.items()} | {
        f"all at {ALL_AT}": scores.all_evidence[ALL_AT],
        "recall@10": scores.recall_at_10,
        "MRR": scores.reciprocal_rank,
    }
    return {name: f"{share.value:.3f}" for name, share in cells.items()}


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.context", description="Which evidence recall puts into a window."
    )
    parser.add_argument("--data", type=Path, required=True, help="file in LoCoMo's format")
    outcomes = asyncio.run(measure(parser.parse_args().data))
    scores = score(outcomes["lab"])
    of_lab = {tokens: share.value for tokens, share in scores.recall.items()}
    of_peers = [score(of).recall for name, of in outcomes.items() if name != "lab"]
    rows = [
        Row(f"evidence in {tokens} tokens", of_lab[tokens], aim, more_is_better=True)
        for tokens, aim in AIMS.items()
    ]
    there = scores.all_evidence[ALL_AT].value
    rows.append(Row(f"all evidence in {ALL_AT} tokens", there, ALL_AIM, more_is_better=True))
    rows += [
        Row(
            f"evidence in {tokens} tokens, lab to best peer",
            of_lab[tokens] / max(peer[tokens].value for peer in of_peers),
            1.0,
            "×",
            more_is_better=True,
        )
        for tokens in AIMS
    ]
    return 0 if report("context", rows, figures(outcomes)) else 1


if __name__ == "__main__":
    sys.exit(main())
