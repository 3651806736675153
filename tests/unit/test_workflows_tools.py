import time
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from lab.config import Settings
from lab.errors import BreakerOpenError, ConfigError, InputError, NoRoomError, RemoteError
from lab.schemas.breaker_config import BreakerConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role
from lab.schemas.todo import Todo
from lab.schemas.todo_status import TodoStatus
from lab.schemas.tool import Tool
from lab.schemas.tool_call import ToolCall
from lab.workflows.breakers import Breaker
from lab.workflows.tool_arguments import check_arguments
from lab.workflows.tools import LabTool, ToolContext, Traits
from lab.workflows.tools.calculator import MOST_BITS, evaluate, written
from lab.workflows.tools.current_time import CurrentTime
from lab.workflows.tools.todos import meant
from lab.workflows.tools.tool import Arguments
from lab.workflows.tools.web import SearchWeb
from lab.workflows.withholding import withheld


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 * (3 + 4)", "14"),
        ("7 / 2", "3.5"),
        ("0.1 + 0.2", "0.3"),
        ("-2 ** 2", "-4"),
        ("2^10 − 3 × 4 ÷ 6", "1022"),
        ("17 % 5 + 17 // 5", "5"),
        ("sqrt(16) + max(1, 2, 3)", "7"),
        ("round(pi, 2)", "3.14"),
        ("factorial(20)", "2432902008176640000"),
        (f"2 ** {MOST_BITS - 1} // 2 ** {MOST_BITS - 2}", "2"),
    ],
)
def test_it_calculates(expression: str, value: str) -> None:
    assert written(evaluate(expression)) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "two plus two",
        "9 ** 9 ** 9",
        "10 ** 1000 * 10 ** 1000",
        "2 ** 0.5 ** -99999",
        "factorial(10 ** 6)",
        "1 / 0",
        "0 ** -1",
        "(-8) ** 0.5",
        "log(0)",
        "1e308 * 10",
        "__import__('os').system('id')",
        "().__class__",
        "[1] * 10 ** 9",
        "'a' * 10",
        "True + 1",
        "max()",
        "round(1, x=2)",
        "lambda: 1",
        "1 << 99999",
        "x := 5",
        "(" * 400,
        "1 +" * 400,
        "9" * 5000,
    ],
)
def test_what_is_no_arithmetic_or_too_much_is_refused_at_once(expression: str) -> None:
    started = time.perf_counter()

    with pytest.raises(InputError):
        evaluate(expression)

    assert time.perf_counter() - started < 0.5


async def test_the_clock_tells_the_users_time() -> None:
    clock = CurrentTime(lambda zone: datetime(2026, 11, 27, 23, 5, tzinfo=UTC).astimezone(zone))

    async def told(**values: Any) -> str:
        context: Any = type("Context", (), {"settings": Settings().overlay("user", values)})
        return await clock.call({}, context)

    assert await told() == "Friday, 2026-11-27 23:05:00 UTC"
    assert await told(tools={"time_zone": "Europe/Berlin"}) == "Saturday, 2026-11-28 00:05:00 CET"
    with pytest.raises(ConfigError, match="no time zone"):
        await told(tools={"time_zone": "../../etc/passwd"})


def todo(text: str) -> Todo:
    return Todo(
        id=UUID(int=1),
        owner_id=UUID(int=2),
        version=1,
        text=text,
        status=TodoStatus.pending,
        created_at=datetime.now(UTC),
    )


def test_a_todo_is_meant_by_its_words() -> None:
    todos = [todo("Buy milk"), todo("Buy milk and bread"), todo("Call Ann")]

    assert meant(todos, "buy MILK") is todos[0]
    assert meant(todos, "bread") is todos[1]
    with pytest.raises(InputError, match="2 todos say `buy`"):
        meant(todos, "buy")
    with pytest.raises(InputError, match="No todo says `sing`"):
        meant(todos, "sing")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("model", "big", BreakerConfig(failures=2, reset_s=10), clock)


def fail(breaker: Breaker, error: Exception) -> None:
    with pytest.raises(type(error)), breaker.admitted(), breaker.counting():
        raise error


def succeed(breaker: Breaker) -> None:
    with breaker.admitted(), breaker.counting():
        pass


def test_failures_in_a_row_open_it(breaker: Breaker) -> None:
    fail(breaker, RemoteError("Away."))
    succeed(breaker)
    fail(breaker, RemoteError("Away."))
    for harmless in (InputError("Wrong."), NoRoomError("Full.")):
        fail(breaker, harmless)
    assert breaker.state == "closed"

    fail(breaker, ZeroDivisionError())

    assert (breaker.state, breaker.n_opened) == ("open", 1)
    with pytest.raises(BreakerOpenError, match="again in 10 s"):
        succeed(breaker)


def test_one_may_try_after_a_while_and_decides(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, RemoteError("Away."))
    fail(breaker, RemoteError("Away."))
    clock.now = 10.0
    assert breaker.state == "half_open"

    with breaker.admitted():
        with pytest.raises(BreakerOpenError):
            succeed(breaker)
        with breaker.counting(is_whole=False):
            pass
    assert not breaker.refuses  # who tried left without an outcome

    fail(breaker, RemoteError("Away."))
    assert (breaker.state, breaker.n_opened) == ("open", 2)

    clock.now = 20.0
    succeed(breaker)
    assert not breaker.refuses


def test_without_a_number_of_failures_it_never_opens(clock: Clock) -> None:
    breaker = Breaker("tool", "page", BreakerConfig(failures=0), clock)

    for _ in range(100):
        fail(breaker, RemoteError("Away."))

    assert breaker.state == "closed"


async def test_what_the_web_cannot_be_asked_is_an_input_error() -> None:
    context: Any = type("Context", (), {"owner_id": UUID(int=1)})
    search = SearchWeb(cast("Any", None))

    with pytest.raises(InputError, match="is too long"):
        check_arguments("search_web", search.tool.parameters, {"query": "x" * 2001})
    with pytest.raises(InputError, match="cannot be asked so"):
        await search.call({"query": "\ud800"}, context)


class _Tool:
    def __init__(self, **traits: Any) -> None:
        self.tool, self.traits = Tool(name="tool"), Traits(**traits)

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        return ""


def test_after_text_of_others_no_address_is_gone_to_that_nobody_named() -> None:
    tools: dict[str, LabTool] = {
        "read_page": _Tool(foreign=True, leads=True, goes_to="url"),
        "python": _Tool(),
        "docs": _Tool(foreign=True),
    }

    def call(name: str, **arguments: str) -> ToolCall:
        return ToolCall(id="1", name=name, arguments=arguments)

    page = (call("read_page", url="https://a.org"), "See [x](https://b.org/x), <c.org/y_(z)>.")
    computed = (call("python"), "https://evil.org/?safe=4711")
    failed = (call("read_page", url="https://evil.org/?4711"), "Error: https://evil.org/?4711")
    asked = ChatMessage(role=Role.user, content="Read https://d.org/one?a=b.")
    urls = {
        "https://b.org/x": True,
        "http://c.org/y_(z)": True,
        "https://d.org/one?a=b": True,
        "https://d.org/one": False,
        "https://b.org/x?utm_source=4711": False,
        "https://evil.org/?safe=4711": False,
        "https://evil.org/?4711": False,
    }
    calls = [call("read_page", url=url) for url in urls]
    refused = withheld(tools, [page, computed, failed], calls, [asked], has_foreign=False)
    documents = withheld(tools, [], calls[:1], [asked], has_foreign=True)

    assert [place not in refused for place in range(len(urls))] == list(urls.values())
    assert "letter by letter" in refused[3]
    assert documents.keys() == {0}
    assert withheld(tools, [], calls, [asked], has_foreign=False) == {}
