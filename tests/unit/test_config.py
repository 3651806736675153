from pathlib import Path

import pytest

from lab.config import Settings, all_keys, env_name, load_settings
from lab.errors import ConfigError, LockedKeyError, UnknownKeyError
from lab.supervisor.environment import trusted_environment, untrusted_environment


def settings(environ: dict[str, str] | None = None, file: Path | None = None) -> Settings:
    return load_settings(file, environ or {})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_come_from_the_schemas() -> None:
    assert settings().config.server.port == 8000
    assert {e.layer for e in settings().explain()} == {"schema default"}


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text("[server]\nport = 1\nhub_port = 2\n")

    found = settings({"LAB_SERVER_PORT": "3"}, file)

    assert (found.config.server.port, found.config.server.hub_port) == (3, 2)
    assert [found.explain(f"server.{k}")[0].layer for k in ("port", "hub_port", "host")] == [
        "environment",
        "file lab.toml",
        "schema default",
    ]


def test_a_file_here_is_found(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text("[chat]\nmodel = 'mine'\n")
    assert settings().config.chat.model == "mine"


def test_profiles_are_tables_of_the_file_and_reach_child_processes(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(
        "[[chat.profiles]]\nid = 'brief'\nmodel = 'lab-tiny'\nparameters = { top_k = 5 }\n"
        "[[chat.profiles]]\nid = 'long'\nmodel = 'lab-tiny'\n"
    )

    found = settings()
    child = settings({**found.environment(), "LAB_CONFIG_FILE": ""})

    assert [profile.id for profile in found.config.chat.profiles] == ["brief", "long"]
    assert child.config.chat.profiles == found.config.chat.profiles
    (shown,) = found.explain("chat.profiles")
    assert shown.value[0] == {"id": "brief", "model": "lab-tiny", "parameters": {"top_k": 5}}


def test_what_is_wrong_in_a_profile_is_named_where_it_stands() -> None:
    wrong = '[{"id": "x", "model": "lab-tiny", "parameters": {"top_k": -1}}]'

    with pytest.raises(ConfigError, match=r"`chat\.profiles\.0\.parameters\.top_k` = -1 from env"):
        settings({"LAB_CHAT_PROFILES": wrong})


def test_the_request_wins_over_the_user() -> None:
    user = settings({"LAB_MEMORY_TOP_K": "1"}).overlay("user", {"memory": {"top_k": 2}})
    request = user.overlay("request", {"memory": {"top_k": 3}})
    assert (user.config.memory.top_k, request.config.memory.top_k) == (2, 3)
    assert request.explain("memory.top_k")[0].layer == "request"


@pytest.mark.parametrize(("value", "expected"), [(None, 12), (0, 0)])
def test_none_is_unset_and_zero_is_a_value(value: int | None, expected: int) -> None:
    found = settings().overlay("user", {"memory": {"top_k": value}})
    assert found.config.memory.top_k == expected


def test_false_and_empty_text_are_values() -> None:
    found = settings({"LAB_CONTEXT_SYSTEM_PROMPT": ""}).overlay(
        "user", {"memory": {"enabled": False}}
    )
    assert found.config.context.system_prompt == ""
    assert found.config.memory.enabled is False


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(UnknownKeyError, match=r"LAB_DATABASE_ULR.*`LAB_DATABASE_URL`"):
        settings({"LAB_DATABASE_ULR": "x"})
    with pytest.raises(UnknownKeyError, match=r"`memory.topk` in user.*`memory.top_k`"):
        settings().overlay("user", {"memory": {"topk": 1}})


def test_a_wrong_type_says_what_came_and_from_where() -> None:
    with pytest.raises(ConfigError, match=r"`server.port` = 'eighty' from environment"):
        settings({"LAB_SERVER_PORT": "eighty"})


def test_every_wrong_value_is_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        settings({"LAB_SERVER_PORT": "0", "LAB_MEMORY_ENABLED": "maybe"})
    assert len(str(caught.value).splitlines()) == 2


def test_users_set_only_their_sections() -> None:
    with pytest.raises(UnknownKeyError, match=r"server.port"):
        settings().overlay("user", {"server": {"port": 1}})


def test_a_locked_key_says_so() -> None:
    locked = settings({"LAB_LIMITS_LOCKED": "memory.enabled, memory.top_k"})
    with pytest.raises(LockedKeyError, match=r"`memory\.enabled` is locked"):
        locked.overlay("user", {"memory": {"enabled": False}})
    assert locked.explain("memory.enabled")[0].locked


def test_a_lock_on_no_key_of_users_names_the_nearest() -> None:
    with pytest.raises(UnknownKeyError, match=r"`memory.enabeld` in limits.locked.*`memory.enab"):
        settings({"LAB_LIMITS_LOCKED": "memory.enabeld"})


def test_what_a_user_set_before_the_lock_gives_way_to_the_operator() -> None:
    locked = settings({"LAB_LIMITS_LOCKED": "memory.top_k", "LAB_MEMORY_TOP_K": "7"})

    found = locked.under_user({"memory": {"top_k": 3, "enabled": False}})

    assert (found.config.memory.top_k, found.config.memory.enabled) == (7, False)
    assert found.explain("memory.top_k")[0].layer == "environment"


def test_an_unknown_key_of_a_file_names_the_nearest_and_the_file(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text("[server]\nprot = 1\n")
    with pytest.raises(UnknownKeyError, match=r"`server.prot` in file lab.toml.*`server.port`"):
        settings()


def test_a_section_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text("server = 1\n")
    with pytest.raises(UnknownKeyError, match=r"`server` in file lab.toml"):
        settings()


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_true_and_false_are_read(text: str, value: bool) -> None:
    assert settings({"LAB_MEMORY_ENABLED": text}).config.memory.enabled is value


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("LAB_MEMORY_ENABLED", "maybe", "valid boolean"),
        ("LAB_SERVER_PORT", "70000", "less than or equal to 65535"),
        ("LAB_SERVER_PORT", "8000.5", "valid integer"),
        ("LAB_MEMORY_SCOPE", "some", "'all', 'conversation' or 'shared'"),
        ("LAB_LOGGING_LEVEL", "loud", "'debug'"),
        ("LAB_CHAT_MODEL", "", "at least 1 character"),
        ("LAB_SERVER_HOST", "", "at least 1 character"),
        ("LAB_HUB_ADMIN", "", "at least 1 character"),
        ("LAB_DATABASE_URL", "", "at least 1"),
    ],
)
def test_a_wrong_value_is_refused_by_its_variable(variable: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings({variable: value})
    assert variable in str(refused.value)
    assert says in str(refused.value)


def test_secrets_are_masked() -> None:
    url = "postgresql://lab:hunter2@db/lab"
    found = settings({"LAB_DATABASE_URL": url})
    assert "hunter2" not in repr(found.explain()) + repr(found.config)
    assert found.environment()["LAB_DATABASE_URL"] == url


def test_a_child_process_gets_the_same_settings() -> None:
    parent = settings({"LAB_LIMITS_LOCKED": "memory.top_k", "LAB_MEMORY_ENABLED": "false"})
    child = settings(parent.environment())
    assert child.config == parent.config


@pytest.mark.parametrize("key", ["chat.model", "embedding.model"])
def test_a_relative_model_folder_is_the_same_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    parent = settings({env_name(key): "models/mine"})

    monkeypatch.chdir(tmp_path / "elsewhere")
    child = settings(parent.environment())

    assert child.explain(key)[0].value == str(tmp_path / "models" / "mine")


def test_a_relative_folder_in_a_file_begins_at_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    (folder / "mine").mkdir(parents=True)
    (folder / "lab.toml").write_text("[chat]\nmodel = 'mine'\n[data]\nfolder = 'data'\n")

    found = settings({"LAB_CONFIG_FILE": "etc/lab.toml"})

    assert found.config.chat.model == str(folder / "mine")
    assert found.data_folder == folder / "data"


@pytest.mark.parametrize("name", ["lab-tiny", "Qwen/Qwen3-0.6B"])
def test_the_name_of_a_model_stays_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "lab-tiny").mkdir()

    assert settings({"LAB_CHAT_MODEL": name}).config.chat.model == name


def test_a_broken_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text("port = = 1")
    with pytest.raises(ConfigError, match=r"not valid TOML"):
        settings()


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/data` cannot be written .* LAB_DATA_FOLDER"):
        _ = settings({"LAB_DATA_FOLDER": str(tmp_path / "file" / "data")}).data_folder


def test_environment_names_are_unique() -> None:
    names = [env_name(key) for key, _ in all_keys()]
    assert len(set(names)) == len(names)


ENDPOINT = '{"name": "there", "url": "http://there/v1", "key": "sk-secret"}'


def test_endpoints_come_from_the_environment_as_json() -> None:
    found = settings({"LAB_REMOTES_ENDPOINTS": f"[{ENDPOINT}]"})

    (endpoint,) = found.config.remotes.endpoints
    assert endpoint.key is not None
    assert (endpoint.name, endpoint.key.get_secret_value()) == ("there", "sk-secret")


def test_the_key_of_an_endpoint_is_shown_nowhere_and_given_to_trusted_children_alone(
    tmp_path: Path,
) -> None:
    environ = {"LAB_REMOTES_ENDPOINTS": f"[{ENDPOINT}]", "LAB_DATA_FOLDER": str(tmp_path)}
    found = settings(environ)

    (shown,) = found.explain("remotes.endpoints")
    assert "there" in str(shown.value)
    assert "sk-secret" not in str(shown.value)
    assert "sk-secret" not in repr(found.config)
    assert settings(found.environment()).config == found.config
    assert "sk-secret" in trusted_environment(found, "postgresql://")["LAB_REMOTES_ENDPOINTS"]
    assert "LAB_REMOTES_ENDPOINTS" not in untrusted_environment(found)


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": "there", "key": "sk-secret"}]',
        '[{"name": "there", "url": "http://ann:sk-secret@there"}]',
        '[{"name": "there", "url": "http://there", "kye": "sk-secret"}]',
        '[{"name": "there", "key": "sk-secret"',
    ],
)
def test_a_wrong_endpoint_is_told_without_its_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"remotes\.endpoints") as caught:
        settings({"LAB_REMOTES_ENDPOINTS": text})

    assert "sk-secret" not in str(caught.value)


def test_files_of_endpoints_begin_at_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "lab.toml"
    file.parent.mkdir()
    (file.parent / "tokenizer.json").touch()
    endpoint = 'name = "a"\nurl = "http://a"\nkey_file = "key"\n'
    file.write_text(
        f'[[remotes.endpoints]]\n{endpoint}tokenizer = "tokenizer.json"\n'
        '[[vllm.models]]\nmodel = "Qwen/Qwen3-8B"\nmemory_gb = 20\n'
        '[[llama_cpp.models]]\nmodel = "qwen3.gguf"\n'
    )

    found = settings(file=file).config

    assert found.remotes.endpoints[0].key_file == str(file.parent / "key")
    assert found.remotes.endpoints[0].tokenizer == str(file.parent / "tokenizer.json")
    assert found.vllm.models[0].model == "Qwen/Qwen3-8B"
    assert found.llama_cpp.models[0].model == str(file.parent / "qwen3.gguf")
