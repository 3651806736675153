from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.widgets.markdown import to_html
from lab.widgets.mathml import to_mathml

HARMLESS = {
    "a": {"href", "target", "rel", "title"},
    "code": {"class"},
    "div": {"class"},
    "math": {"display"},
    "ol": {"start"},
    "span": {"class"},
    "td": {"style"},
    "th": {"style"},
}
ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](java&#x73;cript:alert(1))",
    "[click](data:text/html,<script>alert(1)</script>)",
    "[click](vbscript:x)",
    "[click](/hub/logout)",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    "![x](https://example.org/pixel.png)",
    '[a](https://x.org "\\" onmouseover=alert(1) x=\\"")',
    '```"><script>alert(1)</script>\ncode\n```',
    "`<script>`",
    r"$\text{<img src=x onerror=alert(1)>}$",
    r"$\href{javascript:alert(1)}{x}$",
    r"$\style{background:url(https://example.org)}{x}$",
    r"$\class{lab-danger}{x}$",
    "| a |\n|---|\n| <script>alert(1)</script> |",
]


class Opened(HTMLParser):
    """Collects the tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def assert_inert(html: str) -> None:
    for tag, attributes in Opened(html).tags:
        assert tag not in {"script", "img", "svg", "iframe", "style", "object", "form"}, html
        if tag in HARMLESS or tag not in MATHML:
            assert set(attributes) <= HARMLESS.get(tag, set()), html
        assert not any(name.startswith("on") for name in attributes), html
        assert str(attributes.get("href", "https:")).startswith(("http:", "https:", "mailto:"))


MATHML = {"mrow", "mi", "mo", "mn", "msup", "mtext", "mstyle", "mfrac", "msub", "mspace"}


@pytest.mark.parametrize("text", ATTACKS)
def test_what_a_model_writes_cannot_run(text: str) -> None:
    assert_inert(to_html(text))


@given(st.lists(st.sampled_from([*ATTACKS, "\n\n", "$$", "*", "`", "> ", "- ", '"', "<", "]("])))
def test_no_mixture_of_attacks_runs(pieces: list[str]) -> None:
    assert_inert(to_html("".join(pieces)))


def test_links_open_outside_and_tell_nothing() -> None:
    html = to_html("[there](https://example.org)")

    assert 'href="https://example.org" target="_blank" rel="noopener noreferrer nofollow"' in html


def test_images_become_links() -> None:
    assert ">a cat</a>" in to_html("![a cat](https://example.org/cat.png)")


def test_code_is_coloured_by_its_language() -> None:
    assert '<span class="k">def</span>' in to_html("```python\ndef f(): ...\n```")


def test_code_of_an_unknown_language_stays_plain() -> None:
    assert "x &lt; y" in to_html("```nosuchlanguage\nx < y\n```")


def test_line_breaks_tables_and_lists_are_kept() -> None:
    assert "one<br />" in to_html("one\ntwo")
    assert "<td>1</td>" in to_html("| a |\n|---|\n| 1 |")
    assert "<li>x</li>" in to_html("- x")


def test_formulas_become_mathml_and_prices_do_not() -> None:
    assert "<msup>" in to_html("$x^2$")
    assert "<math" not in to_html("from $5 to $10")


@pytest.mark.parametrize("latex", ["{", "x^", r"\frac{1}", r"\left(", r"\begin{matrix}", "a_b_c"])
def test_a_formula_that_cannot_be_read_stays_as_its_source(latex: str) -> None:
    assert to_mathml(latex, block=False)


@given(st.text(alphabet=r"\{}^_&<>xfrac1 ()[]'", max_size=24))
def test_no_formula_breaks_the_page(latex: str) -> None:
    assert to_mathml(latex, block=True).startswith(("<math", "<code"))
