"""`lab users export` and `lab users forget`: all of one person, and nothing of another."""

import asyncio
import json
import stat
import tempfile
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from typer.testing import CliRunner

from lab.cli import main
from lab.client import connect
from lab.db import Database, EmbeddedPostgres
from lab.db.belongings import owned_tables, snapshot
from lab.db.export import COMPUTED
from lab.db.facts import Statement
from lab.db.tables import Base
from lab.errors import DocumentError
from lab.protocols import EMBEDDING_DIM, Passage
from lab.schemas.event_type import EventType
from lab.schemas.model_profile import ModelProfile
from lab.schemas.research_step_kind import ResearchStepKind
from lab.schemas.role import Role
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.scope import Scope
from lab.schemas.summary_style import SummaryStyle
from lab.schemas.text_part import TextPart
from lab.schemas.usage import Usage
from lab.schemas.user import User
from lab.supervisor.databases import HUB_DATABASE
from tests.api_server import Api
from tests.integration.conftest import execute
from tests.integration.test_evals_clock import Fired, ticking, until
from tests.ports import free_port

pytestmark = pytest.mark.integration

NOBODYS = {"models"}
"""Tables of the lab itself."""

runner = CliRunner()

PNG = b"\x89PNG\r\n\x1a\n"
ANN, BOB = "Zanzibar", "Tombouctou"
"""Words that stand in everything of Ann's, and of Bob's."""


@pytest.fixture
def data_folder(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the data folder of the lab that the commands mean."""
    folder = tmp_path / "data"
    monkeypatch.setenv("LAB_DATABASE_URL", database_url)
    monkeypatch.setenv("LAB_DATA_FOLDER", str(folder))
    monkeypatch.setenv("COLUMNS", "300")
    return folder


@pytest.fixture
async def hub_database(database_server: EmbeddedPostgres) -> AsyncIterator[str]:
    await database_server.create_database(HUB_DATABASE)
    yield database_server.url(HUB_DATABASE)
    await execute(database_server.url("postgres"), f"DROP DATABASE {HUB_DATABASE} WITH (FORCE)")


async def fill(database: Database, url: str, user: User, data_folder: Path, word: str) -> None:
    """Let a user own something of every kind, with a word in every text."""
    vector = np.eye(1, EMBEDDING_DIM, dtype=np.float32)[0]
    async with database.accounts() as accounts:
        await accounts.set_password(user.name, word)
    async with database.stores(user.id) as stores:
        chat = await stores.conversations.create(word)
        run = await stores.runs.create(RunKind.chat, word, {"stop": [word]}, chat.id)
        await stores.runs.update(run.id, status=RunStatus.failed, error=word)
        await stores.events.append(run.id, 0, EventType.run_failed, {"message": word})
        cost = Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
        await stores.usage.add(word, word, cost, run_id=run.id)
        said = await stores.messages.add(chat.id, Role.user, [TextPart(text=word)], run_id=run.id)
        memory = await stores.memories.add(said, word, vector, vector, model="model@1")
        summary = await stores.summaries.add(
            [memory], level=1, text=word, style=SummaryStyle.brief, model=word, n_tokens=1
        )
        assert summary is not None
        await stores.facts.add(summary, [Statement(word, word)], vector[None], model=word)
        await stores.documents.add(
            word,
            [Passage(0, len(word), word)],
            vector[None],
            name=word,
            media_type="text/plain",
            sha256=sha256(word.encode()).hexdigest(),
            n_bytes=len(word),
            embedding_model=word,
        )
        await stores.web_pages.add(
            [Passage(0, len(word), word)],
            vector[None],
            **dict.fromkeys(("requested_url", "url", "title", "author", "text"), word),
            status=200,
            media_type="text/html",
            published_on=None,
            language=word,
            sha256=sha256(word.encode()).hexdigest(),
            n_bytes=len(word),
            embedding_model=word,
            warc=word.encode(),
        )
        await stores.api_keys.create(word, [Scope.custom_lab_infer])
        await stores.config.set({"roles": {"primary": word}})
        file = await stores.files.add(PNG + word.encode(), "image/png", name=word)
        await stores.images.add(file.id, word, word, {"style": word})
        await stores.model_profiles.create(ModelProfile(id=word, model=word))
        await stores.items.put([word], word, {"word": word})
        await stores.dynamic_tools.create(
            vector, model=word, name=word, description=word, parameters={}, code=word
        )
        await stores.todos.create(word, chat.id)
        task = await stores.research_tasks.create(word, chat.id)
        planned = await stores.research_steps.add(task.id, ResearchStepKind.plan, word)
        found = dict.fromkeys(("query", "provider", "url", "title", "snippet"), word)
        await stores.search_results.add(step_id=planned.id, position=0, **found)
        about = dict.fromkeys(("claim", "url", "title", "quote", "reason"), word)
        places = {"position": 0, "number": 1, "start": 0, "end": 1}
        await stores.research_citations.add(
            task.id, page_id=None, sha256="0" * 64, score=1.0, verified=False, **about, **places
        )
        await stores.research_tasks.stop(task.id, RunStatus.cancelled)  # or the lab takes it up
        schedule = await stores.schedules.create(word, "0 0 1 1 *", word)
        evaluated = await stores.eval_runs.create(word, word, {"x": word}, schedule_id=schedule.id)
        notebook = Path("evals", str(evaluated.id), f"{word}.ipynb")
        await stores.eval_runs.update(
            evaluated.id, status=RunStatus.completed, executed_notebook=str(notebook)
        )
    (data_folder / notebook).parent.mkdir(parents=True)
    (data_folder / notebook).write_text(word)
    (data_folder / notebook).with_suffix(".html").write_text(word)
    steps: Any = AsyncPostgresSaver(database.pool)
    place = {"configurable": {"thread_id": str(chat.id), "checkpoint_ns": ""}}
    step = {**empty_checkpoint(), "channel_values": {"window": [word]}}
    placed = await steps.aput(place, step, {"source": "loop"}, {"window": "1"})
    await steps.aput_writes(placed, [("answer", word)], "task")
    async with ticking(database, url, Fired()) as clock:
        await until(lambda: clock.ticks)


async def everything(url: str) -> dict[str, list[str]]:
    """Return every row of every table as text, bytes as hex."""
    tables = await execute(
        url,
        "SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = relid"
        " WHERE NOT relispartition ORDER BY 1",
    )
    return {
        name: [row for (row,) in await execute(url, f"SELECT t::text FROM {name} t ORDER BY 1")]
        for (name,) in tables
    }


def files(folder: Path) -> dict[Path, bytes | None]:
    return {f: f.read_bytes() if f.is_file() else None for f in folder.rglob("*")}


def spelled(word: str) -> tuple[str, str, str]:
    """Return how a word may stand in a row: as it is, stemmed, and in bytes."""
    return word, word.lower()[:5], word.encode().hex()


async def lab(*arguments: str, code: int = 0, typed: str | None = None) -> str:
    """Run a command and return all it prints."""
    result = await asyncio.to_thread(runner.invoke, main, ["users", *arguments], input=typed)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    if code:
        assert "Error: " in result.stderr.splitlines()[-1]
    return " ".join(result.output.split())


def test_every_table_of_ours_says_whose_its_rows_are() -> None:
    assert {table.name for table, _ in owned_tables()} == set(Base.metadata.tables) - NOBODYS


async def test_an_export_holds_all_of_one_user(
    database: Database,
    database_url: str,
    owner: User,
    other_owner: User,
    data_folder: Path,
    tmp_path: Path,
) -> None:
    await fill(database, database_url, owner, data_folder, ANN)
    await fill(database, database_url, other_owner, data_folder, BOB)
    hashes = await execute(
        database_url,
        "SELECT password_hash FROM users UNION ALL SELECT secret_hash FROM api_keys",
    )
    file = tmp_path / "ann.zip"

    assert f"{file}: 26 rows" in await lab("export", "ann", str(file))

    with ZipFile(file) as archive:
        assert archive.testzip() is None
        held = {name: archive.read(name).decode(errors="replace") for name in archive.namelist()}
    manifest = json.loads(held.pop("manifest.json"))
    readme = held.pop("README.md")
    rows = {
        name.removesuffix(".jsonl"): [json.loads(line) for line in text.splitlines()]
        for name, text in held.items()
        if name.endswith(".jsonl")
    }
    files = {name: text for name, text in held.items() if name.startswith("files/")}
    everything_held = "".join(held.values())
    assert {table: len(found) for table, found in rows.items()} == manifest["rows"]
    assert set(rows) == set(Base.metadata.tables) - COMPUTED - NOBODYS
    assert all(len(found) == 1 for found in rows.values()), rows
    assert rows["messages"][0]["parts"] == [{"type": "text", "text": ANN}]
    assert rows["memories"][0]["text"] == ANN
    assert rows["users"][0]["name"] == "ann"
    (run,) = rows["eval_runs"]
    (picture,) = rows["files"]
    (page,) = rows["web_pages"]
    assert files == {
        f"files/evals/{run['id']}/{ANN}.html": ANN,
        f"files/evals/{run['id']}/{ANN}.ipynb": ANN,
        f"files/{picture['id']}.png": (PNG + ANN.encode()).decode(errors="replace"),
        f"files/{page['id']}.warc.gz": ANN,
    }
    assert "content" not in picture
    assert (manifest["user"], manifest["files"]) == ("ann", 4)
    assert readme.startswith("# What LLM ML Lab stored of ann")
    assert rows["summary_sources"][0]["memory_id"] == rows["memories"][0]["id"]
    wordless = {"users.jsonl", "summary_sources.jsonl"}
    assert all(text.count(ANN) for name, text in held.items() if name not in wordless)
    assert not any(mark in everything_held for mark in (*spelled(BOB), str(other_owner.id)))
    assert not any(secret in everything_held for (secret,) in hashes)
    assert '"embedding":' not in everything_held
    assert '"words":' not in everything_held
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_forgetting_leaves_no_trace_and_all_of_the_others(
    database: Database,
    database_url: str,
    other_owner: User,
    data_folder: Path,
) -> None:
    await fill(database, database_url, other_owner, data_folder, BOB)
    before, files_before = await everything(database_url), files(data_folder)
    async with database.accounts() as accounts:
        ann = await accounts.get_or_create("ann")
    await fill(database, database_url, ann, data_folder, ANN)
    home = data_folder / "homes" / "ann"
    grown = await everything(database_url)
    same = {table for table in grown if grown[table] == before[table]}
    assert same == {"alembic_version", "checkpoint_migrations", *NOBODYS}

    home.mkdir(parents=True)
    shown = await lab("forget", "ann", typed="ann\n")
    home.rmdir()
    home.parent.rmdir()

    after = await everything(database_url)
    left = "".join(row for rows in after.values() for row in rows)
    assert after == before
    assert files(data_folder) == files_before
    assert not any(mark in left for mark in (*spelled(ANN), str(ann.id), ann.id.hex))
    assert "memory_terms 1" in shown
    assert "All of `ann` is deleted" in shown
    assert f"their notebooks in {home}" in shown
    assert "hub" not in shown


async def test_of_somebody_who_used_the_lab_no_byte_is_left_in_tables_copies_and_files(
    api: Api,
    ann: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, temporary = api.app.state.settings.data_folder, tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("LAB_DATABASE_URL", database_url)
    monkeypatch.setenv("LAB_DATA_FOLDER", str(folder))
    async with connect(api.url, ann) as hers:
        chat = await hers.conversations.create(ANN)
        gone = await hers.conversations.create(ANN)
        for place in (chat, gone):
            await hers.chat(f"My dog is called {ANN}.", conversation=place.id, max_new_tokens=8)
        await hers.chat(f"Who is {ANN}?", memory=True, max_new_tokens=8, seed=1)
        await hers.documents.add(f"{ANN} barks. ".encode() * 200, f"{ANN}.txt")
        with pytest.raises(DocumentError):
            await hers.documents.add(f"{ANN} barks. ".encode() * 200_000, f"{ANN}.txt")
        await hers.config.set("roles.primary", ANN)
        memory = (await hers.memories.search(ANN))[0].memory
        await hers.memories.correct(memory.id, f"My cat is called {ANN}.")
        await hers.memories.delete(memory.id)
        await hers.export()
    async with api.client(ann) as client:
        assert (await client.delete(f"/v1/conversations/{gone.id}")).status_code == 204
        assert (await client.get("/v1/config")).status_code == 200
    assert ANN in f"{await copies(api)}"

    await lab("forget", "ann", "--yes")

    rows = "".join(row for found in (await everything(database_url)).values() for row in found)
    large = await execute(database_url, "SELECT count(*) FROM pg_largeobject")
    held = [f"{path} {content!r}" for path, content in (files(folder) | files(temporary)).items()]
    assert not any(mark in rows for mark in spelled(ANN))
    assert large == [(0,)]
    assert [text for text in held if ANN in text] == []
    async with asyncio.timeout(10):
        while ANN in f"{await copies(api)}":
            await asyncio.sleep(0.05)


async def copies(api: Api) -> list[object]:
    """Return what the API keeps in its own memory."""
    store = api.app.state.runtime.cache._own
    return [await store.get(key) async for key in store.scan("*")]


async def test_what_is_not_confirmed_is_not_deleted(
    database: Database, database_url: str, owner: User, data_folder: Path
) -> None:
    await fill(database, database_url, owner, data_folder, ANN)
    before, files_before = await everything(database_url), files(data_folder)

    assert "`bob` is not `ann`; nothing was deleted" in await lab(
        "forget", "ann", typed="bob\n", code=1
    )
    assert "No user `carl`" in await lab("forget", "carl", "--yes", code=1)

    assert await everything(database_url) == before
    assert files(data_folder) == files_before


async def test_a_user_whose_runs_go_on_is_not_deleted(
    database: Database, database_url: str, owner: User, data_folder: Path
) -> None:
    async with database.stores(owner.id) as stores:
        await stores.runs.create(RunKind.chat, None, {})
        await stores.eval_runs.create("x", "x")
    before = await everything(database_url)

    assert "`ann` has 2 runs that have not ended" in await lab("forget", "ann", "--yes", code=1)

    assert await everything(database_url) == before


@pytest.mark.parametrize("place", ["../outside", "secrets", "evals/{id}"])
async def test_files_that_are_not_a_runs_own_stay(
    database: Database, database_url: str, owner: User, data_folder: Path, place: str
) -> None:
    """The last is a run's folder that is a link."""
    async with database.stores(owner.id) as stores:
        run = await stores.eval_runs.create("x", "x")
        file = Path(place.format(id=run.id), "x.ipynb")
        await stores.eval_runs.update(
            run.id, status=RunStatus.completed, executed_notebook=str(file)
        )
    kept = (data_folder / file).parent
    if "{id}" in place:
        kept = data_folder / "kept"
        (data_folder / file).parent.parent.mkdir(parents=True)
        (data_folder / file).parent.symlink_to(kept)
    kept.mkdir(parents=True)
    (kept / "x.ipynb").write_text("mine")
    before = await everything(database_url)

    shown = await lab("forget", "ann", "--yes", code=1)

    assert "not in a folder of its own" in shown
    assert (kept / "x.ipynb").read_text() == "mine"
    assert await everything(database_url) == before


async def test_what_is_left_is_told_loudly(
    database: Database, database_url: str, owner: User, data_folder: Path
) -> None:
    await execute(database_url, "CREATE TABLE gossip (about jsonb, raw bytea)")
    try:
        await execute(
            database_url,
            f"INSERT INTO gossip VALUES (to_jsonb('{owner.id}'::text), '{owner.id}'), ('{{}}', '')",
        )

        shown = await lab("forget", "ann", "--yes", code=1)
    finally:
        await execute(database_url, "DROP TABLE gossip")

    assert "1 rows of gossip.about, 1 rows of gossip.raw" in shown


@pytest.mark.usefixtures("data_folder", "owner")
async def test_an_export_never_overwrites_and_never_leaves_half_a_file(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")

    assert "exists; name another" in await lab("export", "ann", str(taken), code=1)
    assert "cannot be written" in await lab("export", "ann", str(tmp_path / "no" / "x"), code=1)
    assert "No user `carl`" in await lab("export", "carl", str(tmp_path / "x"), code=1)

    assert {file.name for file in tmp_path.iterdir()} <= {"taken", "data"}
    assert taken.read_text() == "mine"


async def test_a_snapshot_shows_one_moment(database: Database, owner: User) -> None:
    counting = "SELECT count(*) FROM conversations"
    async with snapshot(database) as connection:
        first = await (await connection.execute(counting)).fetchall()
        async with database.stores(owner.id) as stores:
            await stores.conversations.create("later")
        second = await (await connection.execute(counting)).fetchall()
    async with snapshot(database) as connection:
        third = await (await connection.execute(counting)).fetchall()

    assert first == second != third


async def test_forgetting_starts_the_embedded_server_once(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_DATA_FOLDER", str(open_folder))
    monkeypatch.setenv("LAB_DATABASE_PORT", str(free_port()))
    log = open_folder / "postgres" / "server.log"
    await lab("add", "ann")
    n_starts = log.read_text().count("starting PostgreSQL")

    await lab("forget", "ann", typed="ann\n")

    assert n_starts == 1
    assert log.read_text().count("starting PostgreSQL") == 2


@pytest.mark.usefixtures("data_folder", "owner", "other_owner")
async def test_the_hubs_own_record_is_told(hub_database: str) -> None:
    unknown = await lab("forget", "bob", "--yes")  # a hub that never started has no tables
    await execute(hub_database, "CREATE TABLE users (name text)")
    await execute(hub_database, "INSERT INTO users VALUES ('ann')")

    shown = await lab("forget", "ann", "--yes")

    assert "hub" not in unknown
    assert "the hub's own record of the name" in shown
