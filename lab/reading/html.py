"""Pages: their main text, without navigation."""

from trafilatura import extract, html2txt

SHORT = 500
"""Characters below which a main text may be a wrong guess: then all of the page is taken."""


def text_of(page: str) -> str:
    """Return the main text of an HTML page, or all its text where little is left."""
    main = extract(page, favor_recall=True, include_comments=False, include_tables=True) or ""
    return main if len(main) > SHORT else html2txt(page) or main
