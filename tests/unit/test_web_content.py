"""What the lab makes of the bytes of a page."""

import pytest

from lab.schemas.web_failure_reason import WebFailureReason as Why
from lab.web.content import UnreadableError, read_content
from lab.web.urls import canonical, key_of
from tests.files import pdf
from tests.web.sites import SAID, article

URL = "https://a.test/dir/page"


def test_a_page_says_who_wrote_it_and_when_and_where_its_links_lead() -> None:
    page = article(
        "Lamps",
        SAID,
        *(
            f'<a href="{target}">x</a>'
            for target in ("b?utm_source=x&z=1", "/b#top", "mailto:a@b.c", "http://[", "//c.test")
        ),
        '<a rel="nofollow" href="/hidden">x</a>',
    )

    found = read_content(page.encode(), "text/html", URL, timeout_s=10, links=True)

    content = found.content
    assert (content.title, content.author, content.published_on, content.language) == (
        *("Lamps", "Ann Berg"),
        *("2026-03-01", "en"),
    )
    assert SAID in content.text
    assert found.links[3:] == [
        *("https://a.test/dir/b?z=1", "https://a.test/b", "https://c.test/"),
        "https://a.test/most",
    ]


def test_a_page_that_takes_too_long_is_broken_off() -> None:
    endless = pdf(*["Lamp."] * 1500)

    with pytest.raises(UnreadableError, match=r"longer than 0\.05 s") as raised:
        read_content(endless, "application/pdf", URL, timeout_s=0.05)

    assert raised.value.reason is Why.unreadable
    assert read_content(b"<p>Lamps.", "text/html", URL, timeout_s=5).content.text == "Lamps."


def test_a_page_may_ask_that_its_links_are_left_alone() -> None:
    page = '<html><head><meta name="Robots" content="noindex, NOFOLLOW"></head><a href="/x">x</a>'

    assert read_content(page.encode(), "text/html", URL, timeout_s=5, links=True).links == []


def test_a_pdf_with_a_password_and_one_without_text_say_so() -> None:
    with pytest.raises(UnreadableError, match="a PDF with a password"):
        read_content(pdf("x", password="y"), "application/pdf", URL, timeout_s=5)
    with pytest.raises(UnreadableError, match="holds no text"):
        read_content(pdf(""), "application/pdf", URL, timeout_s=5)


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("http://a.test", "http://a.test/"),
        ("https://A.test.:443/x/?b=1&a=2#c", "https://a.test/x/?a=2&b=1"),
        ("http://[::1]:8000/?gclid=1", "http://[::1]:8000/"),
        ("http://a.test/ä?q=ö ü", "http://a.test/%C3%A4?q=%C3%B6+%C3%BC"),
    ],
)
def test_an_address_has_one_form(url: str, form: str) -> None:
    assert canonical(url) == form
    assert canonical(form) == form
    assert key_of("http://[") == "http://["
