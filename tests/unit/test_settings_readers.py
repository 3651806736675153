"""Every setting is read somewhere: a switch that does nothing is a lie."""

import ast
from pathlib import Path

import pytest

from lab.config import all_keys

ROOT = Path(__file__).parents[2]
CODE = [
    path
    for room in ("lab", "api", "hub_config")
    for path in (ROOT / room).rglob("*.py")
    if "schemas" not in path.parts
]


class Reads(ast.NodeVisitor):
    """Collect `section.key` chains, and `name.key` where the module uses that section's type."""

    def __init__(self, source: str) -> None:
        self.chains: set[tuple[str, str]] = set()
        self.attributes: set[str] = set()
        self.source = source
        self.visit(ast.parse(source))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.attributes.add(node.attr)
        if isinstance(node.value, ast.Attribute | ast.Name):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
            self.chains.add((owner, node.attr))
        self.generic_visit(node)

    def reads(self, section: str, key: str) -> bool:
        type_name = section.title().replace("_", "") + "Config"
        by_type = type_name in self.source and key in self.attributes
        # A whole section may be merged at once, as sampling defaults are.
        whole = f"config.{section}.model_dump(" in self.source
        aliased = f"config.{section}\n" in self.source and key in self.attributes
        return (section, key) in self.chains or by_type or whole or aliased


MODULES = [Reads(path.read_text()) for path in CODE]


@pytest.mark.parametrize("name", [name for name, _ in all_keys()])
def test_every_setting_has_a_reader(name: str) -> None:
    section, key = name.split(".")
    assert any(module.reads(section, key) for module in MODULES), f"nothing reads {name}"
