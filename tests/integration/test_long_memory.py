"""
A fact, then 300 turns of other talk, then the question.

The right answer comes through the lab's client, an OpenAI client and an evaluation notebook, and
with one seed it is the same text everywhere.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI

from api.main import create_app
from lab.client import Lab, connect
from lab.config import load_settings
from lab.db import Database
from lab.evals.serving import serving
from lab.evals.talks import hold, write_talk
from lab.schemas.eval_run import EvalRun
from lab.schemas.scope import Scope
from lab.schemas.user import User
from tests.integration.test_evals_service import write

pytestmark = pytest.mark.integration

MODEL = "lab-tiny"
QUESTION = "What is my dog called?"
SEED = 7
ASK = f"""\
from uuid import UUID

from lab import connect
from lab.evals import record

answer = await connect().chat(
    "{QUESTION}", conversation=UUID(conversation), model="{MODEL}", seed={SEED}, store=False
)
record({{"text": answer.text}})
"""


@pytest.fixture
async def app(database_url: str, open_folder: Path) -> AsyncIterator[FastAPI]:
    notebook = open_folder / "notebooks" / "evals" / "ask.ipynb"
    write(notebook, ASK, parameters='conversation: str = ""  # where the fact was said')
    environ = {
        "LAB_DATABASE_URL": database_url,
        "LAB_DATA_FOLDER": str(open_folder / "data"),
        "LAB_DATA_NOTEBOOKS_FOLDER": str(open_folder / "notebooks"),
    }
    app = create_app(load_settings(environ=environ))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def lab(app: FastAPI, database: Database, owner: User) -> AsyncIterator[Lab]:
    async with database.stores(owner.id) as stores:
        _, key = await stores.api_keys.create(
            "test", [Scope.custom_lab_infer, Scope.custom_lab_memory]
        )
    async with serving(app) as url, connect(url, key) as lab:
        yield lab


@pytest.fixture
async def conversation(lab: Lab) -> UUID:
    """A conversation in which a dog's name was said long ago."""
    conversation = await lab.conversations.create("Long ago")
    await lab.chat("My dog is called Zamiko.", conversation=conversation.id, model=MODEL, seed=SEED)
    talk = write_talk(n_facts=0, n_turns=296, seed=1)
    await hold(lab, conversation.id, talk.messages)
    for said, _ in write_talk(n_facts=0, n_turns=4, seed=2).turns:
        await lab.chat(said, conversation=conversation.id, model=MODEL, seed=SEED)
    await lab.conversations.summarise(conversation.id)
    return conversation.id


async def test_300_turns_later_every_face_knows_it_in_the_same_words(
    lab: Lab, conversation: UUID
) -> None:
    ours, without = [
        await lab.chat(
            QUESTION, conversation=conversation, model=MODEL, seed=SEED, store=False, memory=memory
        )
        for memory in (None, False)
    ]
    theirs = await ask_with_openai(lab, conversation)
    run = await ask_in_notebook(lab, conversation)

    assert run.error is None
    assert "Zamiko" in ours.text
    assert "Zamiko" not in without.text
    assert theirs == ours.text
    assert run.metrics["text"] == ours.text


async def ask_in_notebook(lab: Lab, conversation: UUID) -> EvalRun:
    run = await lab.evals.run("ask", conversation=str(conversation))
    async with asyncio.timeout(100):
        while run.finished_at is None:
            await asyncio.sleep(0.1)
            run = await lab.evals.get(run.id)
    return run


async def ask_with_openai(lab: Lab, conversation: UUID) -> str | None:
    address = lab.openai()
    async with AsyncOpenAI(base_url=address["base_url"], api_key=address["api_key"]) as client:
        completion = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": QUESTION}],
            seed=SEED,
            store=False,
            extra_body={"conversation_id": str(conversation)},
        )
    return completion.choices[0].message.content
