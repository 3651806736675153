"""Fail when pyproject.toml, requirements.lock and environment.yml disagree."""

import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PIP_SECTION = {"pip": ["-r requirements.lock"]}


def problems() -> list[str]:
    """Return what disagrees, one line each."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [Requirement(r) for r in [*project["dependencies"], *(x for e in extras for x in e)]]
    locked = {canonicalize_name(r.name): r for r in map(Requirement, _lock_lines())}
    found = [_lock_problem(r, locked.get(canonicalize_name(r.name))) for r in wanted]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    if PIP_SECTION not in environment:
        found.append(f"environment.yml: the pip section must be exactly {PIP_SECTION}.")
    minimum = project["requires-python"].removeprefix(">=")
    if f"python={minimum}" not in environment:
        found.append(f"environment.yml: python must be {minimum}, as requires-python says.")
    return [problem for problem in found if problem]


def _lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line and not line.startswith((" ", "#"))]


def _lock_problem(wanted: Requirement, locked: Requirement | None) -> str:
    if locked is None:
        return f"requirements.lock: {wanted.name} is missing; run scripts/lock."
    version = next(iter(locked.specifier)).version
    if not wanted.specifier.contains(version, prereleases=True):
        return f"requirements.lock: {wanted.name}=={version} is not {wanted}; run scripts/lock."
    return ""


if __name__ == "__main__":
    found = problems()
    sys.stderr.writelines(line + "\n" for line in found)
    sys.exit(1 if found else 0)
