"""Notebooks in a child process: what is done is told, what goes wrong is said."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from lab.db.os_account import OsAccount, unprivileged_account
from lab.evals.runner import Outcome, run_notebook
from lab.evals.workplace import Workplace

pytestmark = pytest.mark.integration

PARAMETERS = "x: int = 1"
RECORD = "from lab.evals import record\n\nrecord({'double': 2 * x})"
WHO = """\
import os
from pathlib import Path

from lab.evals import record

Path("mine.txt").write_text("")
Path.home().joinpath("mine.txt").write_text("")
ids = [*os.getresuid(), *os.getresgid(), *os.getgroups()]
record({"ids": " ".join(map(str, sorted(set(ids)))), "home": str(Path.home())})
"""


def write(folder: Path, *sources: str) -> Path:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, *sources)]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, file := folder / "source.ipynb")
    return file


async def run(
    folder: Path,
    *sources: str,
    timeout_s: int = 30,
    environment: dict[str, str] | None = None,
    account: OsAccount | None = None,
    seen: list[tuple[int, int]] | None = None,
) -> Outcome:
    async def on_progress(done: int, total: int) -> None:
        if seen is not None:
            seen.append((done, total))

    return await run_notebook(
        write(folder, *sources),
        Workplace(folder / "out" / "executed.ipynb", account),
        {"x": 21},
        cell_timeout_s=timeout_s,
        environment=environment or {},
        on_progress=on_progress,
    )


async def test_metrics_progress_and_page_of_a_notebook(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    outcome = await run(tmp_path, RECORD, seen=seen)

    assert outcome == Outcome(error=None, metrics={"double": 42})
    assert seen == [(1, 3), (2, 3), (3, 3)]  # Papermill adds a cell with the values
    assert "double" in (tmp_path / "out" / "executed.html").read_text()


async def test_a_failing_cell_is_named_and_what_was_measured_is_kept(tmp_path: Path) -> None:
    outcome = await run(tmp_path, RECORD, "1 / 0", "print('never')")

    assert outcome.error == "Cell 4 raised ZeroDivisionError: division by zero"
    assert outcome.metrics == {"double": 42}
    assert "ZeroDivisionError" in (tmp_path / "out" / "executed.html").read_text()


async def test_a_slow_cell_fails_although_papermill_calls_it_completed(tmp_path: Path) -> None:
    outcome = await run(tmp_path, "import time\n\ntime.sleep(60)", timeout_s=2)

    assert outcome.error is not None
    assert "longer than 2 s" in outcome.error


async def test_a_dead_kernel_fails(tmp_path: Path) -> None:
    outcome = await run(tmp_path, "import os\n\nos._exit(0)")

    assert outcome.error is not None
    assert "Kernel died" in outcome.error


async def test_a_kernel_sees_what_it_was_given_and_none_of_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret")
    names = "sorted(n for n in os.environ if n.startswith(('LAB_', 'JUPYTERHUB_')))"

    outcome = await run(
        tmp_path,
        f"import os\n\nfrom lab.evals import record\n\nrecord({{'names': ' '.join({names})}})",
        environment={"LAB_API_KEY": "given"},
    )

    assert outcome.metrics == {"names": "LAB_API_KEY"}
    assert "given" not in (tmp_path / "out" / "executed.ipynb").read_text()


async def test_what_is_kept_is_ours_alone(tmp_path: Path) -> None:
    await run(tmp_path, RECORD)

    kept = tmp_path / "out"
    assert kept.stat().st_mode & 0o777 == 0o700
    files = {file.name: file.stat().st_mode & 0o777 for file in kept.iterdir()}
    assert files == {"executed.ipynb": 0o600, "executed.html": 0o600}


@pytest.fixture
def account() -> OsAccount:
    if (account := unprivileged_account("labuser-evals")) is None:
        pytest.skip("only root executes as another account")
    return account


async def test_an_account_executes_in_a_home_that_is_gone_afterwards(
    open_folder: Path, account: OsAccount
) -> None:
    outcome = await run(open_folder, WHO, account=account)

    assert outcome.metrics["ids"] == " ".join(map(str, sorted({account.uid, account.gid})))
    assert not Path(outcome.metrics["home"]).exists()
    kept = {file.name: file.stat() for file in (open_folder / "out").iterdir()}
    assert kept.keys() == {"executed.ipynb", "executed.html"}
    assert {(s.st_uid, s.st_mode & 0o777) for s in kept.values()} == {(os.geteuid(), 0o600)}


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_that_an_account_leaves_is_not_followed(
    link: Callable[[Path, Path], None], tmp_path: Path, account: OsAccount
) -> None:
    (secret := tmp_path / "secret").write_text('{"secret": 1}')
    workplace = Workplace(tmp_path / "out" / "executed.ipynb", account)

    with workplace.opened() as draft:
        link(secret, draft)

    assert not workplace.kept.exists()


def test_a_half_written_notebook_leaves_the_last_whole_one(
    tmp_path: Path, account: OsAccount
) -> None:
    workplace = Workplace(tmp_path / "out" / "executed.ipynb", account)

    with workplace.opened() as draft:
        draft.write_text('{"cells": []}')
        os.chown(draft, account.uid, account.gid)
        workplace.keep(draft)
        draft.write_text('{"cells": [')

    assert workplace.kept.read_text() == '{"cells": []}'


async def test_cancelling_ends_process_and_kernel(tmp_path: Path) -> None:
    pids = tmp_path / "pids.json"
    cell = (
        f"import json, os, time\n\njson.dump([os.getppid(), os.getpid()], open({str(pids)!r}, 'w'))"
    )
    task = asyncio.create_task(run(tmp_path, cell, "time.sleep(60)"))
    async with asyncio.timeout(30):
        while not pids.exists() or not pids.read_text().endswith("]"):
            await asyncio.sleep(0.1)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    for _ in range(100):
        alive = [pid for pid in json.loads(pids.read_text()) if is_running(pid)]
        if not alive:
            break
        await asyncio.sleep(0.1)
    assert not alive


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
