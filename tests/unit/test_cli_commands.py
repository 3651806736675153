import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from transformers import LlamaConfig
from typer.testing import CliRunner

from lab.cli import COMMANDS, load, main

runner = CliRunner()


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("NO_COLOR", "1")


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys; from lab.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'httpx', 'psutil', 'torch', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert all(name in shown.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_help_is_the_commands_own(name: str) -> None:
    assert (load(name).help or "").strip().splitlines()[0] == COMMANDS[name].summary


def commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    for name in COMMANDS:
        command = load(name)
        yield from _leaves(name, command)


def _leaves(
    name: str, command: typer.core.TyperCommand | typer.core.TyperGroup
) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    if isinstance(command, typer.core.TyperGroup):
        for verb, leaf in command.commands.items():
            yield from _leaves(f"{name} {verb}", leaf)  # type: ignore[arg-type]
    else:
        yield name, command


@pytest.mark.parametrize(("name", "command"), [pytest.param(n, c, id=n) for n, c in commands()])
def test_every_command_shows_an_example(name: str, command: typer.core.TyperCommand) -> None:
    assert f"lab {name}" in (command.help or "").partition("Example")[2]


def test_an_unknown_command_names_the_nearest() -> None:
    result = runner.invoke(main, ["statsu"])

    assert result.exit_code == 2
    assert "Did you mean 'status'?" in result.stderr


def test_an_unknown_option_names_the_nearest() -> None:
    result = runner.invoke(main, ["up", "--detatch"])

    assert result.exit_code == 2
    assert "--detach" in result.stderr
    assert "Traceback" not in result.output


def test_an_id_that_is_no_uuid_is_refused() -> None:
    result = runner.invoke(main, ["eval", "show", "seven"])

    assert result.exit_code == 2
    assert "run_id" in result.stderr
    assert "UUID" in result.stderr


def test_an_unknown_setting_in_the_environment_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAB_SERVER_PRT", "1")

    result = runner.invoke(main, ["config", "check"])

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Unknown setting `LAB_SERVER_PRT` in the environment.")
    assert "`LAB_SERVER_PORT`" in result.stderr


def test_config_check_names_every_wrong_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SERVER_PORT", "0"), ("MEMORY_ENABLED", "maybe"), ("CHAT_MODEL", "")):
        monkeypatch.setenv(f"LAB_{name}", value)

    result = runner.invoke(main, ["config", "check"])

    assert result.exit_code == 1
    assert all(f"LAB_{n}" in result.stderr for n in ("SERVER_PORT", "MEMORY_ENABLED", "CHAT_MODEL"))
    assert "Traceback" not in result.output


def test_config_check_refuses_one_port_for_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_SERVER_HUB_PORT", "8000")

    result = runner.invoke(main, ["config", "check"])

    assert result.exit_code == 1
    assert "LAB_SERVER_PORT and LAB_SERVER_HUB_PORT are both 8000" in result.stderr


def test_config_check_refuses_a_url_of_another_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DATABASE_URL", "mysql://lab:hunter2@127.0.0.1/lab")

    result = runner.invoke(main, ["config", "check"])

    assert result.exit_code == 1
    assert "LAB_DATABASE_URL is not the URL of a PostgreSQL" in result.stderr
    assert "hunter2" not in result.output


def test_an_error_of_the_lab_is_one_line_without_a_traceback() -> None:
    result = runner.invoke(main, ["config", "explain", "server.prt"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: Unknown setting `server.prt`")
    assert len(result.stderr.splitlines()) == 1


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_SERVER_PORT", "eighty")

    result = runner.invoke(main, ["up"])

    assert result.exit_code == 1
    assert "LAB_SERVER_PORT" in result.stderr
    assert "'eighty'" in result.stderr


def test_config_explain_says_which_layer_set_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_SERVER_PORT", "9999")

    result = runner.invoke(main, ["config", "explain", "server.port", "--json"])

    (setting,) = json.loads(result.stdout)
    assert setting["value"] == 9999
    assert setting["layer"] == "environment"


def test_config_env_masks_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DATABASE_URL", "postgresql://lab:hunter2@127.0.0.1/lab")

    result = runner.invoke(main, ["config", "env"])

    assert "LAB_DATABASE_URL=**********" in result.stdout
    assert "hunter2" not in result.output


def test_config_check_passes_on_the_defaults() -> None:
    result = runner.invoke(main, ["config", "check"])

    assert result.exit_code == 0
    assert "Every setting is valid" in result.stderr


def test_status_of_a_lab_that_does_not_run_says_how_to_start_it() -> None:
    result = runner.invoke(main, ["status"])

    assert result.exit_code == 1
    assert "lab up" in result.stderr


def test_status_as_json_is_json_alone() -> None:
    result = runner.invoke(main, ["status", "--json"])

    assert json.loads(result.stdout) == {"running": False}


def test_down_without_a_lab_is_no_error() -> None:
    result = runner.invoke(main, ["down"])

    assert result.exit_code == 0
    assert "does not run" in result.stderr


def test_logs_of_an_unknown_process_name_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "data" / "logs").mkdir(parents=True)
    (tmp_path / "data" / "logs" / "hub.log").write_text("one\ntwo\n")

    unknown = runner.invoke(main, ["logs", "hubb"])
    known = runner.invoke(main, ["logs", "hub", "-n", "1"])

    assert unknown.exit_code == 1
    assert "hub" in unknown.stderr
    assert known.stdout == "two\n"


def test_a_data_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAB_DATA_FOLDER", str(tmp_path / "file" / "data"))

    result = runner.invoke(main, ["up"])

    assert result.exit_code == 1
    assert str(tmp_path / "file" / "data") in result.stderr
    assert "LAB_DATA_FOLDER" in result.stderr


def test_models_show_says_nothing_but_what_it_shows() -> None:
    code = "from lab.cli import main; main(['models', 'show', 'lab-tiny'])"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert [line.partition(" ")[0] for line in shown.stderr.splitlines()] == ["Needed"]


def test_models_show_tells_each_forms_needs_and_which_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = runner.invoke(main, ["models", "show", "lab-tiny"])
    told = json.loads(runner.invoke(main, ["models", "show", "lab-tiny", "--json"]).stdout)
    monkeypatch.setenv("LAB_RESIDENCY_MEMORY_GB", "0.026")
    small = runner.invoke(main, ["models", "show", "lab-tiny"])
    monkeypatch.setenv("LAB_CHAT_QUANTIZATION", "auto")
    auto = runner.invoke(main, ["models", "show", "lab-tiny"])

    assert [line.split()[0] for line in shown.stdout.splitlines()[1:5]] == [
        "none",
        "int8",
        "nf4",
        "offload",
    ]
    assert "It would be loaded as none." in shown.output
    assert told["chosen"] == "none"
    assert told["needs"]["none"]["weights"] > 2 * told["needs"]["int8"]["weights"]
    assert "does not fit" in small.output
    assert "LAB_CHAT_QUANTIZATION=int8" in small.output
    assert "It would be loaded as int8." in auto.output


def test_models_show_is_for_models_that_chat() -> None:
    refused = runner.invoke(main, ["models", "show", "all-MiniLM-L6-v2"])

    assert refused.exit_code == 1
    assert "of models that chat" in refused.output


def test_models_show_counts_the_files_of_published_quantized_weights(tmp_path: Path) -> None:
    config = {"quant_method": "gptq", "bits": 4}
    LlamaConfig(num_hidden_layers=1, quantization_config=config).save_pretrained(tmp_path)
    bare = runner.invoke(main, ["models", "show", str(tmp_path)])
    (tmp_path / "model.safetensors").write_bytes(bytes(3_000_000))
    shown = runner.invoke(main, ["models", "show", str(tmp_path)])
    wanted = {"LAB_CHAT_QUANTIZATION": "nf4"}
    refused = runner.invoke(main, ["models", "show", str(tmp_path)], env=wanted)

    assert "no weights: expected one or more *.safetensors" in bare.output
    assert [line.split()[:3] for line in shown.stdout.splitlines()[1:]] == [["none", "3.0", "MB"]]
    assert refused.exit_code == 1
    assert "quantized as it is published, and nf4 was asked for" in refused.output
