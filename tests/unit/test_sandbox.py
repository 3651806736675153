"""Code that nobody trusts, in a real child process: what it may do, and all that it must not."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.errors import ServiceError
from lab.sandbox import PythonSandbox, syscalls
from lab.schemas.sandbox_config import SandboxConfig
from lab.schemas.sandbox_end import SandboxEnd
from lab.schemas.sandbox_result import SandboxResult
from tests.sandbox_attacks import DENIED, ENDS, LIMITS, attack

ROOT = Path(__file__).parents[2]
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
LOCKED = """
import asyncio, errno, pyseccomp, sys
from lab.errors import ServiceError
from lab.sandbox import PythonSandbox, syscalls
from lab.schemas.sandbox_config import SandboxConfig
syscalls.program()
made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
made.add_rule(pyseccomp.ERRNO(errno.ENOSYS), {name!r}, *{arguments})
made.load()
try:
    asyncio.run(PythonSandbox(SandboxConfig()).run_python("print(1)"))
except ServiceError as error:
    print(error)
"""
"""Asks for code to be run where the kernel lacks a system call."""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where scratch folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def run(code: str, **given: Any) -> SandboxResult:
    return await PythonSandbox(SandboxConfig()).run_python(code, **given)


async def test_the_value_of_the_last_line_is_what_counts() -> None:
    result = await run("import statistics\nprint('Hi.')\nstatistics.mean([1, 2, 6])")

    assert (result.ended, result.value, result.stdout) == (SandboxEnd.done, 3, "Hi.\n")
    assert result.error is None
    assert result.seconds < 2


async def test_a_function_is_called_with_arguments() -> None:
    result = await run(
        "def both(a, b=2):\n    return {'a': a, 'b': b}", function="both", arguments={"a": ["ö"]}
    )

    assert result.value == {"a": ["ö"], "b": 2}


async def test_an_error_names_the_line_and_shows_nothing_of_the_lab() -> None:
    divided = await run("x = 0\n\nprint('Before.')\n1 / x")
    wrong = await run("def f(:\n    pass")
    other = await run("def f():\n    return {1}", function="f")

    assert divided.error == "ZeroDivisionError: division by zero (line 4)"
    assert divided.stdout == "Before.\n"
    assert wrong.error == "SyntaxError: invalid syntax (line 1)"
    assert other.error == "TypeError: Object of type set is not JSON serializable"
    assert divided.stderr == wrong.stderr == other.stderr == ""


async def test_code_has_a_folder_for_files_that_is_gone_afterwards(scratch: Path) -> None:
    code = """
import os
with open('a.txt', 'w') as file: file.write('one')
with open('a.txt', 'a') as file: file.write(' two')
with open('a.txt', 'r+') as file: file.truncate(5)
with open('b.txt', 'w+') as file: pass
[sorted(os.listdir()), open('a.txt').read()]
"""
    first = await run(code)
    second = await run("import os; os.listdir()")

    assert first.value == [["a.txt", "b.txt"], "one t"]
    assert second.value == []
    assert list(scratch.iterdir()) == []


@pytest.fixture(scope="module", params=["as we are", "as nobody"])
async def attacked(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """What came of each attack: as root, where the tests are, and as an account like others."""
    if request.param == "as we are":
        return await attack()
    program = [
        *(NOBODY if os.geteuid() == 0 else ()),
        sys.executable,
        "-m",
        "tests.sandbox_attacks",
    ]
    done = await asyncio.to_thread(
        subprocess.run,
        program,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    results: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return results


def test_what_code_must_not_do_is_refused(attacked: dict[str, dict[str, Any]]) -> None:
    kinds = ("PermissionError", "OSError: [Errno 9]")  # no such right, no such descriptor
    done = {
        name: attacked[name]["error"]
        for name in DENIED
        if not str(attacked[name]["error"]).startswith(kinds)
    }

    assert done == {}


def test_what_takes_too_much_is_ended(attacked: dict[str, dict[str, Any]]) -> None:
    ended = {name: attacked[name]["ended"] for name in ENDS}

    assert ended == {name: end for name, (_, end) in ENDS.items()}
    assert len(attacked["output"]["stdout"]) == LIMITS.output_kib * 1024
    assert len(attacked["complaints"]["stderr"]) == LIMITS.output_kib * 1024
    assert attacked["half a character"]["value"] == "?"
    assert attacked["a refusal"]["error"] == "The sandbox is broken."
    assert attacked["limits"]["error"].startswith("ValueError")
    assert attacked["memory"]["error"].endswith("(sandbox.memory_mib).")
    assert attacked["endless"]["error"] == "It took longer than 0.7 s (sandbox.seconds)."


def test_code_finds_no_secret_and_no_open_file(attacked: dict[str, dict[str, Any]]) -> None:
    looked = attacked["looks"]["value"]

    assert looked["found"] is False
    assert len(looked["open"]) == 4  # input, outputs and its answer
    assert 0 not in looked["account"]


def test_no_system_call_by_its_number_comes_through(attacked: dict[str, dict[str, Any]]) -> None:
    assert attacked["syscalls"]["error"] is None
    assert attacked["syscalls"]["value"] == []


async def test_cancelling_ends_the_code_at_once_and_leaves_nothing(scratch: Path) -> None:
    running = asyncio.create_task(run("import time\nwhile True: time.sleep(1)"))
    async with asyncio.timeout(10):
        while not (children := [*_children(os.getpid())]) or not any(scratch.iterdir()):
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running})

    assert running.cancelled()
    assert not any(child.is_running() for child in children)
    assert list(scratch.iterdir()) == []


async def test_code_ends_with_a_lab_that_is_killed_and_the_next_removes_its_files(
    scratch: Path,
) -> None:
    code = (
        "import asyncio; from lab.sandbox import PythonSandbox; "
        "from lab.schemas.sandbox_config import SandboxConfig; "
        "asyncio.run(PythonSandbox(SandboxConfig(seconds=600)).run_python('while True: pass'))"
    )
    env = {**os.environ, "TMPDIR": str(scratch)}
    lab = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env)
    async with asyncio.timeout(20):
        child = None
        while child is None or child.cpu_times().user < 0.3:
            await asyncio.sleep(0.02)
            child = next(_children(lab.pid), None)
        lab.kill()
        await asyncio.to_thread(lab.wait)
        while child.is_running():
            await asyncio.sleep(0.02)
    left = list(scratch.iterdir())
    await run("1")

    assert len(left) == 1
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("landlock_create_ruleset", []),
        ("prctl", "[pyseccomp.Arg(0, pyseccomp.EQ, 22)]"),  # PR_SET_SECCOMP
    ],
)
def test_a_machine_that_lacks_a_wall_runs_nothing_and_says_what_is_missing(
    name: str, arguments: object
) -> None:
    code = LOCKED.format(name=name, arguments=arguments)
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert "cannot be run safely here" in said
    assert "Landlock" in said
    assert "seccomp" in said


async def test_a_door_that_is_open_is_found_before_any_code_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(syscalls, "ALLOWED", (*syscalls.ALLOWED, "socket"))
    syscalls.program.cache_clear()
    try:
        with pytest.raises(ServiceError, match="from inside the sandbox it could open a connecti"):
            await run("1")
    finally:
        syscalls.program.cache_clear()


async def test_more_than_may_run_at_once_wait() -> None:
    sandbox = PythonSandbox(SandboxConfig(at_once=1))
    results = await asyncio.gather(*(sandbox.run_python(f"{n}") for n in range(3)))

    assert [result.value for result in results] == [0, 1, 2]


def _children(pid: int) -> Iterator[psutil.Process]:
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # ended meanwhile
            if any(part.endswith("child.py") for part in child.cmdline()):
                yield child
