import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psutil
import pytest

from lab.config import load_settings
from lab.db.os_account import OsAccount
from lab.errors import ConfigError, ConflictError, ServiceError
from lab.supervisor.accounts import own_folder
from lab.supervisor.addresses import addresses, check_port, check_ports
from lab.supervisor.credentials import FILE, load_credentials
from lab.supervisor.databases import hub_database_url
from lab.supervisor.environment import trusted_environment, untrusted_environment
from lab.supervisor.logs import follow, last_lines, turn_over
from lab.supervisor.orphans import clear_marked, mark, marked
from lab.supervisor.record import (
    SERVE,
    ProcessRecord,
    StackRecord,
    forget_record,
    living_record,
    only_one,
    read_record,
    recorded_serving,
    write_record,
)
from tests.ports import free_port, free_ports


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_secrets_are_made_once_and_closed_to_others(tmp_path: Path) -> None:
    first = load_credentials(tmp_path)
    second = load_credentials(tmp_path)

    assert first == second
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert len({first.api, first.dashboards, first.scheduler, first.proxy}) == 4
    assert len(first.api) <= 64  # the hub refuses longer tokens
    assert first.api not in repr(first)


def test_spoilt_secrets_are_not_replaced_in_silence(tmp_path: Path) -> None:
    load_credentials(tmp_path)
    (tmp_path / FILE).write_text("{")

    with pytest.raises(ConfigError, match="cannot be read"):
        load_credentials(tmp_path)


def test_a_port_in_use_names_port_setting_and_process(taken_port: int) -> None:
    settings = load_settings(environ={"LAB_SERVER_API_PORT": str(taken_port)})

    with pytest.raises(ServiceError) as failed:
        check_port(settings, "server.api_port")

    assert str(taken_port) in str(failed.value)
    assert "LAB_SERVER_API_PORT" in str(failed.value)
    assert f"process {os.getpid()}" in str(failed.value)


def test_a_port_of_the_labs_own_may_be_in_use(taken_port: int) -> None:
    server = ("", "_HUB", "_PROXY_API", "_API", "_DASHBOARDS", "_SCHEDULER")
    free = zip(server, free_ports(len(server)), strict=True)
    ports = {f"LAB_SERVER{name}_PORT": str(port) for name, port in free}
    settings = load_settings(environ={**ports, "LAB_DATABASE_PORT": str(taken_port)})

    check_ports(settings, used=["database.port"])
    with pytest.raises(ServiceError, match=str(taken_port)):
        check_ports(settings)


def test_one_port_for_two_processes_is_refused() -> None:
    settings = load_settings(environ={"LAB_SERVER_HUB_PORT": "8000"})

    with pytest.raises(ConfigError, match="LAB_SERVER_PORT and LAB_SERVER_HUB_PORT are both 8000"):
        check_ports(settings)


def test_an_address_of_another_machine_is_refused() -> None:
    port = str(free_port())
    settings = load_settings(environ={"LAB_SERVER_HOST": "192.0.2.1", "LAB_SERVER_PORT": port})

    with pytest.raises(ServiceError, match=r"192\.0\.2\.1"):
        check_port(settings, "server.port")


def test_people_reach_a_lab_on_every_address_by_loopback() -> None:
    settings = load_settings(environ={"LAB_SERVER_HOST": "0.0.0.0"})

    assert addresses(settings).public == "http://127.0.0.1:8000"


def test_two_supervisors_of_one_data_folder_are_refused(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(ConflictError, match="runs already"), only_one(tmp_path):
        pass


def test_the_record_is_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    hub = ProcessRecord("hub", "ready", 1, 8081, 0.0, 2)
    record = StackRecord(os.getpid(), psutil.Process().create_time(), "http://x", True, (hub,))

    write_record(tmp_path, record)

    assert read_record(tmp_path) == record
    assert record.supervisor() == psutil.Process()
    forget_record(tmp_path)
    assert read_record(tmp_path) is None


def test_a_process_that_reuses_the_supervisors_id_is_not_it() -> None:
    record = StackRecord(os.getpid(), psutil.Process().create_time() - 60, "http://x", True, ())

    assert record.supervisor() is None


def test_who_serves_is_found_meanwhile(tmp_path: Path) -> None:
    with recorded_serving(tmp_path, "http://x"):
        found = living_record(tmp_path, SERVE)
        assert living_record(tmp_path) is None

    assert found is not None
    assert (found.url, found.pid) == ("http://x", os.getpid())
    assert read_record(tmp_path, SERVE) is None


def test_who_serves_next_is_not_forgotten_with_the_first(tmp_path: Path) -> None:
    with recorded_serving(tmp_path, "http://first"):
        second = StackRecord(os.getpid(), psutil.Process().create_time(), "http://x", True, ())
        write_record(tmp_path, second, SERVE)

    assert living_record(tmp_path, SERVE) == second


def test_who_was_killed_serves_no_more(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_record(tmp_path, StackRecord(2**22 - 1, 0.0, "http://x", True, ()), SERVE)

    assert read_record(tmp_path, SERVE) is not None
    assert living_record(tmp_path, SERVE) is None


def test_only_processes_of_this_data_folder_are_cleared(tmp_path: Path) -> None:
    mine, others = tmp_path / "mine", tmp_path / "others"
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    orphan = subprocess.Popen(sleep, env={**os.environ, **mark(mine)})
    stranger = subprocess.Popen(sleep, env={**os.environ, **mark(others)})
    try:
        cleared = clear_marked(mine)

        assert cleared == 1
        assert orphan.wait(5) != 0
        assert [p.pid for p in marked(others)] == [stranger.pid]
    finally:
        stranger.kill()
        stranger.wait()


def test_an_orphan_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **mark(tmp_path)}, stdout=subprocess.PIPE
    ) as orphan:
        assert orphan.stdout is not None
        orphan.stdout.readline()

        clear_marked(tmp_path, grace_s=0.2)

        assert orphan.wait(5) == -9


def test_logs_turn_over_at_each_start(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "api.log"
    for number in range(8):
        turn_over(file)
        file.write_text(str(number))

    kept = sorted(f.name for f in file.parent.iterdir())
    assert kept == ["api.log", *(f"api.log.{n}" for n in range(1, 6))]
    assert (file.parent / "api.log.1").read_text() == "6"
    assert last_lines(file, 5) == ["7"]


def test_following_a_log_goes_on_after_it_turned_over(tmp_path: Path) -> None:
    file = tmp_path / "api.log"
    file.write_text("old, and long\n")
    lines = follow([file], poll_s=0.01)

    file.write_text("new\n")

    assert list(islice(lines, 1)) == ["new"]


def test_processes_that_run_notebooks_get_no_secret() -> None:
    url = "postgresql://lab:hunter2@127.0.0.1/lab"
    settings = load_settings(environ={"LAB_DATABASE_URL": url, "LAB_SERVER_PORT": "9000"})

    trusted = trusted_environment(settings, url)
    untrusted = untrusted_environment(settings)

    assert trusted["LAB_DATABASE_URL"] == url
    assert untrusted["LAB_SERVER_PORT"] == "9000"
    assert not any("hunter2" in value for value in untrusted.values())


def test_the_hub_gets_a_database_of_its_own_on_the_same_server() -> None:
    url = hub_database_url("postgresql://lab:p%40ss@/lab?host=/run/pg&port=5433")

    assert url.startswith("postgresql+psycopg://lab:p%40ss@/jupyterhub?")
    assert "host=" in url


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another account")
def test_a_folder_of_another_account_goes_over_with_what_was_its_own(tmp_path: Path) -> None:
    home, foreign = tmp_path / "homes" / "ada", tmp_path / "foreign.txt"
    before, now = OsAccount("before", 54_321, 54_321), OsAccount("now", 54_322, 54_322)
    foreign.write_text("not hers")
    os.chown(foreign, before.uid, before.gid)
    own_folder(home, before)
    (home / "notes").mkdir()
    (home / "notes" / "dog.txt").write_text("Zamiko")
    (home / "link").symlink_to(foreign)
    for path in (home / "notes", home / "notes" / "dog.txt", home / "link"):
        os.chown(path, before.uid, before.gid, follow_symlinks=False)
    (home / "operators.txt").write_text("root's")

    own_folder(home, now)

    owners = {path.name: path.lstat().st_uid for path in (home, *home.rglob("*"), foreign)}
    assert owners == {
        **dict.fromkeys(("ada", "notes", "dog.txt", "link"), now.uid),
        "foreign.txt": before.uid,
        "operators.txt": 0,
    }
