"""Whatever goes wrong in the client is a `LabError` of one line."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest

from lab.client import Lab, connect
from lab.errors import InputError, ServiceError

ID = UUID(int=1)
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"


async def answer_with_a_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(PAGE)
    await writer.drain()
    writer.close()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """Return a client of a server that is not the lab's."""
    async with await asyncio.start_server(answer_with_a_page, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"http://127.0.0.1:{port}", "key") as lab:
            yield lab


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda lab: lab.chat([]), r"`messages` = \[\]: List should have at least 1 item"),
        (lambda lab: lab.chat("Hi.", temperature=9), "`temperature` = 9: Input should be less"),
        (lambda lab: lab.chat("Hi.", temperatur=1), "`temperatur` = 1: .* Known: .*temperature"),
        (lambda lab: lab.chat("Hi.", conversation="7"), "`conversation_id` = '7': .*UUID"),
        (lambda lab: lab.conversations.create(""), "`title` = ''"),
        (lambda lab: lab.conversations.rename(ID, ""), "`title` = ''"),
        (lambda lab: lab.conversations.rename(ID, "x" * 201), "`title` = 'x+…: String should"),
        (lambda lab: lab.conversations.add(ID, []), "`messages`"),
        (lambda lab: lab.memories.correct(ID, ""), "`text` = ''"),
        (lambda lab: lab.keys.create(""), "`name` = ''"),
        (lambda lab: lab.embed([1]), "`input"),
        (lambda lab: lab.evals.run(""), "`evaluation` = ''"),
        (lambda lab: lab.schedules.create("", "* * * * *", "x"), "`name` = ''"),
    ],
)
async def test_a_wrong_value_is_named_before_it_is_sent(
    lab: Lab, ask: Callable[[Lab], Awaitable[object]], says: str
) -> None:
    with pytest.raises(InputError, match=f"^{says}") as refused:
        await ask(lab)

    assert len(str(refused.value).splitlines()) == 1


async def test_a_closed_client_says_so(lab: Lab) -> None:
    await lab.aclose()

    with pytest.raises(ServiceError, match="client is closed"):
        await lab.models()
    with pytest.raises(ServiceError, match="client is closed"):
        await lab.chat("Hello.")


async def test_a_server_that_is_not_the_labs_is_named(lab: Lab) -> None:
    with pytest.raises(ServiceError, match=r"/v1/models answered 200, .*LAB_API_URL"):
        await lab.models()
