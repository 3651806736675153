"""Write docs/environment.md and .env.example from the schemas; with --check, only compare."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lab.config import all_keys, env_name, user_keys
from lab.schemas.config import Config

ROOT = Path(__file__).resolve().parent.parent
INTRO = """# Settings

Each setting can be given in a config file (`lab.toml`, or the file `LAB_CONFIG_FILE` names), in
the environment, and, where the last column says so, by each user for themselves. A later layer
wins: schema default, config file, environment, user, request. `lab config explain` shows every
value and the layer that set it.

A relative folder begins where the lab is started, and one in a config file at that file.
"""


def reference() -> str:
    """Return the table of all settings as Markdown."""
    mine = set(user_keys())
    lines = [INTRO]
    for section, field in Config.model_fields.items():
        lines += [
            f"\n## `[{section}]` {field.description or ''}\n",
            "| key | environment | default | what it does | users |",
            "|---|---|---|---|---|",
        ]
        for name, default, description in _leaves(section):
            who = "yes" if name in mine else ""
            key = name.split(".")[1]
            row = (f"`{key}`", f"`{env_name(name)}`", default, description, who)
            lines.append("| " + " | ".join(row) + " |")
        for name, item in _items(section):
            lines += [
                f"\nEach of `{name}` has:\n",
                "| key | default | what it is |",
                "|---|---|---|",
            ]
            for key, field in item.model_fields.items():
                default = "required" if field.is_required() else _shown(field)
                lines.append(f"| `{key}` | {default} | {_said(field)} |")
    return "\n".join(lines) + "\n"


def example() -> str:
    """Return every variable as a comment, for a copy named `.env`."""
    lines = ["# Copy to `.env` and uncomment what you change; docs/environment.md explains each."]
    for section in Config.model_fields:
        lines.append(f"\n# {section}")
        for name, default, description in _leaves(section):
            lines += [f"# {description}", f"#{env_name(name)}={default.strip('`')}"]
    return "\n".join(lines) + "\n"


def _leaves(section: str) -> Iterator[tuple[str, str, str]]:
    for name, field in all_keys():
        if name.startswith(f"{section}."):
            yield name, _shown(field), _said(field)


def _items(section: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the settings of a section that are lists of tables, with what those hold."""
    for name, field in all_keys():
        if name.startswith(f"{section}."):
            for item in get_args(field.annotation):
                if isinstance(item, type) and issubclass(item, BaseModel):
                    yield name, item


def _shown(field: FieldInfo) -> str:
    default = getattr(field.default, "value", field.default)
    written = json.dumps(default) if isinstance(default, list) else default
    return "" if default in (None, []) else f"`{written}`"


def _said(field: FieldInfo) -> str:
    return (field.description or "").strip()


def main(check: bool) -> int:
    """Write the files, or say which one is stale."""
    files = {ROOT / "docs" / "environment.md": reference(), ROOT / ".env.example": example()}
    stale = [f for f, text in files.items() if not f.is_file() or f.read_text() != text]
    if check:
        sys.stderr.writelines(
            f"{f.relative_to(ROOT)} is stale; run `make models`.\n" for f in stale
        )
        return 1 if stale else 0
    for file in stale:
        file.write_text(files[file])
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
