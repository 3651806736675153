"""Whose a page is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.web.sites import site_of

ASK = """
import socket, sys

def refuse(*_, **__):
    raise AssertionError("the network is asked")

socket.socket.connect = socket.getaddrinfo = refuse
from lab.web.sites import site_of
print(site_of(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://example.org/", "example.org"),
        ("https://a.b.EXAMPLE.org:444/c", "example.org"),
        ("https://a.example.co.uk/", "example.co.uk"),
        ("https://ann.blogspot.com/", "blogspot.com"),
        ("https://co.uk/", "co.uk"),
        ("http://intranet/", "intranet"),
        ("http://a.intranet.localhost:81/", "a.intranet.localhost"),
        ("http://127.0.0.1:8000/", "127.0.0.1"),
        ("http://127.0.0.2:8000/", "127.0.0.2"),
        ("http://[2001:db8::1]/", "2001:db8::1"),
        ("no address", ""),
    ],
)
def test_names_under_one_registered_domain_are_one_site(url: str, site: str) -> None:
    assert site_of(url) == site


def test_nothing_is_asked_for_and_nothing_is_written(tmp_path: Path) -> None:
    places = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    environ = {**os.environ, **places, "PYTHONDONTWRITEBYTECODE": "1"}
    url = "https://news.example.co.uk/"

    said = subprocess.run(
        [sys.executable, "-c", ASK, url], env=environ, capture_output=True, text=True, check=True
    )

    assert said.stdout.strip() == "example.co.uk"
    assert list(tmp_path.rglob("*")) == []
