import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.app import JupyterHub
from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets.config import Config, Configurable

import hub_config
from hub_config.authenticator import LabAuthenticator
from hub_config.dashboards import TOKEN_HEADER, configuration
from hub_config.notebooks import copy_missing
from hub_config.roles import ADMINS, custom_scopes, roles, server_token_scopes
from hub_config.services import services
from hub_config.spawner import LabSpawner, account_name
from lab.config import load_settings
from lab.schemas.scope import Scope
from lab.supervisor.services import hub_services

CONFIG_FILE = Path(hub_config.__file__).with_name("jupyterhub_config.py")
CLASSES: dict[str, type[Configurable]] = {
    "JupyterHub": JupyterHub,
    "ConfigurableHTTPProxy": ConfigurableHTTPProxy,
    "Authenticator": LabAuthenticator,
    "LabAuthenticator": LabAuthenticator,
    "Spawner": LabSpawner,
    "LabSpawner": LabSpawner,
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_DATA_FOLDER", str(tmp_path))
    monkeypatch.setenv("LAB_DATABASE_URL", "postgresql://lab:secret@127.0.0.1:1/lab")


@pytest.fixture
def config(environment: None) -> Config:
    config = Config()
    runpy.run_path(str(CONFIG_FILE), {"get_config": lambda: config})
    return config


def test_every_name_in_the_config_is_one_the_hub_knows(config: Config) -> None:
    for name, section in config.items():
        assert name in CLASSES, name
        unknown = set(section) - set(CLASSES[name].class_traits(config=True))
        assert not unknown, (name, unknown)


def test_the_hub_leaves_proxy_and_notebook_servers_to_the_supervisor(config: Config) -> None:
    assert config.ConfigurableHTTPProxy.should_start is False
    assert config.JupyterHub.cleanup_proxy is False
    assert config.JupyterHub.cleanup_servers is False


def test_the_hub_has_a_database_of_its_own(config: Config) -> None:
    assert config.JupyterHub.db_url == "postgresql+psycopg://lab:secret@127.0.0.1:1/jupyterhub"


def test_no_service_is_started_by_the_hub(environment: None) -> None:
    known = services(hub_services(load_settings()))

    assert [service["name"] for service in known] == [
        "api",
        "dashboards",
        "scheduler",
        "supervisor",
    ]
    assert not any("command" in service for service in known)


def test_a_dashboard_may_ask_and_remember_for_its_user_but_not_administer(
    environment: None,
) -> None:
    (dashboards,) = (
        s for s in services(hub_services(load_settings())) if s["name"] == "dashboards"
    )

    assert set(dashboards["oauth_client_allowed_scopes"]) == {
        "access:services!service=api",
        "custom:lab:infer",
        "custom:lab:memory",
    }


def test_everybody_reaches_api_and_dashboards_and_only_admins_administer(environment: None) -> None:
    known = {role["name"]: role for role in roles(hub_services(load_settings()))}

    assert set(known["user"]["scopes"]) == {
        "self",
        "access:services!service=api",
        "access:services!service=dashboards",
        "custom:lab:infer",
        "custom:lab:memory",
    }
    assert known["lab-admin"] == {
        "name": "lab-admin",
        "scopes": ["custom:lab:admin"],
        "groups": [ADMINS],
    }


def test_every_scope_of_the_lab_is_defined() -> None:
    assert set(custom_scopes()) == {scope.value for scope in Scope}


@pytest.mark.parametrize(("is_admin", "expected"), [(False, False), (True, True)])
def test_only_an_admins_server_may_administer(is_admin: bool, expected: bool) -> None:
    class Person:
        admin = is_admin

    class Server:
        user = Person()

    asked = server_token_scopes(Server())

    assert ("custom:lab:admin" in asked) is expected
    assert "custom:lab:infer" in asked


def test_everybody_has_an_os_account_whose_name_the_system_takes() -> None:
    names = {account_name("labuser", person) for person in ("ada", "ada.l", "a" * 64, "a@b.c")}

    assert len(names) == 4
    assert all(re.fullmatch("[a-z][a-z0-9-]{0,31}", name) for name in names)


def test_a_changed_notebook_is_never_overwritten(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "evals").mkdir(parents=True)
    (source / "00_tour.ipynb").write_text("new")
    (source / "evals" / "memory.ipynb").write_text("new")
    target.mkdir()
    (target / "00_tour.ipynb").write_text("mine")

    copy_missing(source, target)

    assert (target / "00_tour.ipynb").read_text() == "mine"
    assert (target / "evals" / "memory.ipynb").read_text() == "new"


def test_the_dashboards_pass_the_persons_token_and_nothing_else(environment: None) -> None:
    config: Any = configuration(load_settings(), "/services/dashboards/", "http://127.0.0.1:8110")

    assert config.VoilaConfiguration.http_header_envs == [TOKEN_HEADER]
    assert config.Voila.base_url == "/services/dashboards/"
    assert config.Voila.port == 8110
    assert config.VoilaConfiguration.show_tracebacks is False
