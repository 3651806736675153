"""Hosts as the web has them."""

import gzip

from tests.files import pdf
from tests.web.server import (
    Asked,
    Handler,
    Page,
    Site,
    broken_off,
    dripping,
    endless,
    silent,
)

SAID = (
    "The lighthouse of Norderhaven was lit for the first time in 1887, and its keeper wrote down "
    "every ship that passed. His book is kept in the museum, where anyone may read it."
)
"""What the main text of an article is about."""


def article(title: str, *paragraphs: str, author: str = "Ann Berg", day: str = "2026-03-01") -> str:
    """Return a page with all that surrounds an article: navigation, a sidebar, a footer."""
    text = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return f"""<!doctype html><html lang="en-GB"><head><meta charset="utf-8">
    <title>{title}</title><meta name="author" content="{author}">
    <meta property="article:published_time" content="{day}T08:00:00Z"></head><body>
    <nav><a href="/">Home</a> <a href="/news">All the news</a> <a href="/about">About us</a></nav>
    <article><h1>{title}</h1>{text}</article>
    <aside><h2>Most read</h2><a href="/most">Ten things about boats</a></aside>
    <footer>All rights reserved. Cookie settings. Imprint.</footer></body></html>"""


def redirect(target: str, status: int = 302) -> Page:
    """Return a page that leads elsewhere."""
    return Page("", status=status, headers={"Location": target})


def packed(body: str) -> Page:
    """Return a page that comes packed."""
    return Page(gzip.compress(body.encode()), headers={"Content-Encoding": "gzip"})


def links(*targets: str) -> Page:
    """Return a page of links."""
    return Page(article("Links", SAID, *(f'<a href="{target}">{target}</a>' for target in targets)))


def calendar(asked: Asked, handler: Handler) -> Page:
    """Return one of pages without end, each of which links to the next day."""
    day = int(asked.path.rpartition("/")[2] or 0)
    return Page(
        article(f"Day {day}", f"On day {day} nothing happened.", f'<a href="/day/{day + 1}">on</a>')
    )


def news() -> Site:
    """Return a host of articles with their links, and a robots.txt."""
    return Site(
        {
            "/robots.txt": Page("User-agent: *\nDisallow: /private/\n", "text/plain"),
            "/": links("/lighthouse", "/harbour?utm_source=x", "/private/diary", "/paper.pdf"),
            "/lighthouse": Page(article("The lighthouse", SAID, SAID)),
            "/harbour": Page(article("The harbour", "Seven boats lie in the harbour. " * 8)),
            "/private/diary": Page(article("Diary", "Nobody may read this. " * 8)),
            "/paper.pdf": Page(pdf("Of ships and lamps.", SAID), "application/pdf"),
        }
    )


def encodings() -> Site:
    """Return a host whose pages declare their encoding rightly, wrongly or not at all."""
    text = (
        "Die Bücher über Öl und Übermut liegen in Königsberg. Größere Süßigkeiten gibt es nicht. "
    )
    page = f"<html><head><title>Öl</title>{{}}</head><body><p>{text * 4}</p></body></html>"
    latin = '<meta charset="iso-8859-1">'
    return Site(
        {
            "/declared": Page(page.format(latin).encode("latin-1"), "text/html"),
            "/header": Page(page.format("").encode("cp1252"), "text/html; charset=windows-1252"),
            "/wrong": Page(page.format('<meta charset="utf-8">').encode("latin-1"), "text/html"),
            "/unknown": Page(page.format(""), "text/html; charset=no-such-thing"),
            "/mark": Page(
                "\ufeff".encode("utf-16-le") + page.format("").encode("utf-16-le"), "text/html"
            ),
            "/bytes": Page(bytes(range(128, 256)) * 40, "text/html"),
        }
    )


def traps() -> Site:
    """Return a host whose pages have no end, no beginning, or lead round and round."""
    deep = "<div>" * 50_000 + SAID
    return Site(
        {
            "/loop": redirect("/loop2"),
            "/loop2": redirect("/loop"),
            "/far": redirect("/far1"),
            **{f"/far{n}": redirect(f"/far{n + 1}") for n in range(1, 30)},
            "/moved": redirect("/good", 301),
            "/good": Page(article("Good", SAID, SAID)),
            "/endless": endless,
            "/dripping": dripping,
            "/silent": silent,
            "/broken-off": broken_off,
            "/large": Page(b"x" * 3_000_000, "text/plain"),
            "/bomb": packed("<p>" + "ha " * 2_000_000),
            "/packed": packed(article("Packed", SAID, SAID)),
            "/film": Page(b"\x00" * 100, "video/mp4"),
            "/lies.pdf": Page("no PDF at all", "application/pdf"),
            "/broken.pdf": Page(b"%PDF-1.7\nnothing follows", "application/pdf"),
            "/empty": Page("<html><body></body></html>"),
            "/nothing": Page(b""),
            "/deep": Page(f"<html><body>{deep}</body></html>"),
            "/gone": Page("gone", status=410),
            "/failing": Page("no", status=500),
            "/inside": redirect("http://169.254.169.254/latest/meta-data/"),
            "/file": redirect("file:///etc/passwd"),
            "/day/*": calendar,
        }
    )
