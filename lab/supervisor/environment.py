"""The variables that the lab's processes start with."""

import os
import sys
from pathlib import Path

from lab.config import Settings, all_keys, env_name, holds_secret
from lab.supervisor.orphans import mark

# What a program needs of the account that started the lab, and none of its secrets.
PASSED_ON = (
    "CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_OFFLINE", "LANG", "LC_ALL", "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS", "TMPDIR", "TZ",
)  # fmt: skip


def trusted_environment(settings: Settings, database_url: str) -> dict[str, str]:
    """Return the variables of a process that runs as we do: our own, the settings, the database."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("LAB_")}  # noqa: TID251
    return ours | _common(settings) | {"LAB_DATABASE_URL": database_url}


def untrusted_environment(settings: Settings) -> dict[str, str]:
    """Return the variables of a process that runs notebooks: no secret of the lab."""
    ours = {k: os.environ[k] for k in PASSED_ON if k in os.environ}  # noqa: TID251
    secret = secret_variables()
    shown = {k: v for k, v in _common(settings).items() if k not in secret}
    return ours | shown


def search_path() -> str:
    """Return the `PATH` on which the programs beside this interpreter come first."""
    rest = os.environ.get("PATH", os.defpath)  # noqa: TID251 - handed on, not read
    return os.pathsep.join([str(Path(sys.executable).parent), rest])


def _common(settings: Settings) -> dict[str, str]:
    return {
        **settings.environment(),
        "LAB_DATA_FOLDER": str(settings.data_folder),
        "LAB_DATA_NOTEBOOKS_FOLDER": str(settings.notebooks_folder),
        "PATH": search_path(),
        "PYTHONUNBUFFERED": "1",
        **mark(settings.data_folder),
    }


def secret_variables() -> set[str]:
    """Return the variables that hold secrets: URLs of stores, keys of other servers."""
    return {env_name(name) for name, field in all_keys() if holds_secret(field.annotation)}
