"""Commands against a lab that runs: what is wrong is one line with advice and exit code 1."""

import asyncio

import pytest

from tests.ports import free_port
from tests.stack import RunningStack, run_lab

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("chat", "-m", "lab-tinny", "Hello"), "Did you mean `lab-tiny`"),
        (("chat", "word " * 3000), "the window holds 1024"),
        (("eval", "run", "long_memroy"), "Did you mean `long_memory`"),
        (("eval", "run", "long_memory", "-p", "n_fax=5"), "no parameter `n_fax`"),
        (("eval", "run", "long_memory", "-p", "n_facts"), "write NAME=VALUE"),
        (("eval", "schedule", "add", "x", "at night", "long_memory"), "cron expression"),
        (("eval", "show", "00000000-0000-0000-0000-000000000001"), "No evaluation run"),
        (("users", "passwd", "nobody"), "No user `nobody`"),
        (("users", "add", "Not A Name"), "cannot be a login name"),
        (("keys", "list", "--user", "nobody"), "No user `nobody`"),
        (("logs", "hubb"), "hub"),
    ],
)
async def test_a_bad_command_is_one_line(
    stack: RunningStack, arguments: tuple[str, ...], says: str
) -> None:
    run = await asyncio.to_thread(stack.lab, *arguments)

    assert run.returncode == 1
    assert says in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert run.stdout.strip() == ""


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"LAB_API_KEY": "lab_foreign"}, "That API key is unknown"),
        ({"LAB_API_KEY": ""}, "set LAB_API_KEY"),
        ({"LAB_API_KEY": "x", "LAB_API_URL": f"http://127.0.0.1:{free_port()}"}, "lab status"),
    ],
)
async def test_a_lab_that_lets_nobody_in_says_why(
    stack: RunningStack, variables: dict[str, str], says: str
) -> None:
    api = f"http://127.0.0.1:{stack.environment['LAB_SERVER_API_PORT']}"
    environment = stack.environment | {"LAB_API_URL": api} | variables

    run = await asyncio.to_thread(run_lab, environment, "models", "list")

    assert run.returncode == 1
    assert says in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
