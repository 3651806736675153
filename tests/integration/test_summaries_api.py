"""What a person does with summaries: read them, have them written, and see them go."""

import asyncio
import json

import httpx
import pytest

from lab.client import connect
from lab.errors import NotFoundError
from lab.evals.talks import holds
from lab.schemas.summaries_config import SummariesConfig
from tests.api_server import Api
from tests.integration.test_memories import told
from tests.stack import LAB

pytestmark = pytest.mark.integration

N = SummariesConfig().messages
TALK = ["My dog is called Zamiko.", *(f"It rained on day {i}." for i in range(N - 1))]


async def test_summaries_are_written_when_asked_for_and_listed_with_their_sources(
    api: Api, ann: str, bob: str
) -> None:
    async with connect(api.url, ann) as lab, connect(api.url, bob) as his:
        memories = await told(lab, TALK)
        chat = memories[0].conversation_id

        (written,) = await lab.conversations.summarise(chat)

        assert holds(written.text, "Zamiko")
        assert [source.memory_id for source in written.sources] == [m.id for m in memories]
        assert await lab.conversations.summaries(chat) == [written]
        assert await lab.conversations.summaries(chat, level=2) == []
        assert await lab.conversations.summaries(chat, before_position=0) == []
        with pytest.raises(NotFoundError):
            await his.conversations.summaries(chat)
        with pytest.raises(NotFoundError):
            await his.conversations.summarise(chat)


@pytest.mark.parametrize("forgotten", ["memory", "message", "all", "corrected"])
async def test_what_is_forgotten_is_in_no_summary(api: Api, ann: str, forgotten: str) -> None:
    async with connect(api.url, ann) as lab:
        first, *_ = await told(lab, TALK)
        chat = first.conversation_id
        await lab.conversations.summarise(chat)

        match forgotten:
            case "memory":
                await lab.memories.delete(first.id)
            case "message":
                await lab.conversations.delete_message(chat, first.message_id)
            case "all":
                await lab.memories.delete_all()
            case _:
                await lab.memories.correct(first.id, "My dog is called Quavira.")
        standing = await lab.conversations.summaries(chat)
        rewritten = await lab.conversations.summarise(chat)

    assert standing == []
    assert not any("Zamiko" in summary.text for summary in rewritten)
    assert [holds(s.text, "Quavira") for s in rewritten] == [True] * (forgotten == "corrected")


async def test_the_command_line_shows_them(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        first, *_ = await told(lab, TALK)
        await lab.conversations.summarise(first.conversation_id)

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(LAB, "memories", "summaries", str(first.conversation_id), *arguments),
            env={"LAB_API_URL": api.url, "LAB_API_KEY": ann, "COLUMNS": "200"},
            stdout=asyncio.subprocess.PIPE,
        )
        return (await process.communicate())[0].decode()

    (row,) = json.loads(await run("--json"))
    shown = await run()
    none = await run("--level", "4", "--json")

    assert (row["level"], row["first_position"], row["last_position"]) == (1, 0, N - 1)
    assert "Zamiko" in shown
    assert f"0-{N - 1}" in shown
    assert json.loads(none) == []


@pytest.mark.parametrize("query", [{"level": 5}, {"level": 0}, {"before_position": -1}])
async def test_a_level_that_is_none_is_refused(api: Api, ann: str, query: dict[str, int]) -> None:
    async with connect(api.url, ann) as lab, api.client(ann) as client:
        first, *_ = await told(lab, TALK[:1])
        path = f"/v1/conversations/{first.conversation_id}/summaries"
        answer: httpx.Response = await client.get(path, params=query)

    assert answer.status_code == 400
