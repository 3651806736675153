"""Tables of commands."""

import pytest

from lab.commands.printing import print_table


def test_a_pipe_gets_every_row_whole(capsys: pytest.CaptureFixture[str]) -> None:
    id, text = "01a217ab-d3c9-774e-924b-035d72c56700", "word " * 100

    print_table(["id", "text"], [(id, text)])

    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == [id, *text.split()]


def test_a_narrow_terminal_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "40"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    id = "01a217ab-d3c9-774e-924b-035d72c56700"

    print_table(["id", "text"], [(id, "My dog is called Zamiko.")])

    assert "…" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "said", ["so [/b] it", "[link=http://evil.test]x[/link]", "[citation needed]"]
)
def test_what_others_wrote_is_no_markup(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["id", "text"], [(1, said), (2, "a\x1b]52;c;eA==\x07\u202eb")])

    _, row, commands = capsys.readouterr().out.splitlines()
    assert row.split(maxsplit=1)[1].rstrip() == said
    assert commands.split()[1] == "a\ufffd]52;c;eA==\ufffd\ufffdb"
