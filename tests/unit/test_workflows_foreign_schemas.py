import time
from typing import Any

import pytest

from lab.errors import InputError
from lab.workflows.foreign_schemas import plain_parameters
from lab.workflows.tool_arguments import check_arguments

PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def schema_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "$defs": {"person": PERSON}}


def test_what_a_schema_refers_to_stands_in_its_place() -> None:
    who = {"$ref": "#/$defs/person", "description": "Who."}
    plain = plain_parameters(schema_of(who=who, pattern={"type": "string", "pattern": "^a$"}))

    assert plain["properties"]["who"] == {**PERSON, "description": "Who."}
    assert plain["properties"]["pattern"] == {"type": "string"}
    with pytest.raises(InputError, match=r"`who`: 'name' is a required property"):
        check_arguments("call", plain, {"who": {}})


def test_what_remains_refuses_nothing_that_the_whole_takes() -> None:
    letters = [{"type": "string", "pattern": p} for p in ("^a", "^b")]
    plain = plain_parameters(
        schema_of(
            one={"oneOf": letters},
            no={"not": {"pattern": "^a"}},
            many={"patternProperties": {"^x": {}}, "additionalProperties": False},
            tree={"$ref": "#"},
        )
    )

    tree = {"one": "a", "no": "b", "many": {"x": 1}, "tree": {"tree": {}}}
    check_arguments("call", plain, tree)


@pytest.mark.parametrize(
    "reference",
    ["http://127.0.0.1:9/x", "file:///etc/passwd", "other.json", "#name", "#/$defs/nobody"],
)
def test_a_reference_to_elsewhere_is_refused(reference: str) -> None:
    with pytest.raises(InputError, match="refer to"):
        plain_parameters(schema_of(who={"$ref": reference}))


def test_what_grows_without_end_is_refused_at_once() -> None:
    started = time.perf_counter()
    doubled = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 4} for i in range(40)}
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"items": deep}
    with pytest.raises(InputError, match="too large"):
        plain_parameters({"$ref": "#/$defs/d0", "$defs": doubled})
    with pytest.raises(InputError, match="no JSON Schema"):
        plain_parameters({"type": "text"})
    plain_parameters({"properties": {"x": deep}})

    assert time.perf_counter() - started < 1
