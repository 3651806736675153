"""Whose a page is, as far as its address tells: names under one registered domain are one site."""

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from tldextract import TLDExtract

_SPLIT: Final = TLDExtract(cache_dir=None, suffix_list_urls=())
"""By the list of public suffixes that comes with it: nothing is asked for, nothing is written."""


@lru_cache(maxsize=4096)
def site_of(url: str) -> str:
    """
    Return the registered domain of an address; its host where that is none.

    Names that somebody gives away under a domain of theirs, as hosts of blogs do, are that one's.

    >>> site_of("https://news.example.co.uk/x"), site_of("http://a.github.io")
    ('example.co.uk', 'github.io')
    >>> site_of("http://127.0.0.1:8000/"), site_of("http://[::1]/"), site_of("http://localhost/")
    ('127.0.0.1', '::1', 'localhost')
    """
    host = urlsplit(url).hostname or ""
    return _SPLIT(host).top_domain_under_registry_suffix or host
