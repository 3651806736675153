"""
A web of its own for tests: hosts on loopback that speak real HTTP.

`LocalWeb` runs them, each on an address of its own (127.0.0.1, 127.0.0.2, …); `tests.web.sites`
has hosts as the web has them: articles, robots.txt, redirects, traps. The lab reaches them by
`web.allowed`, which `LocalWeb.allowed` gives.
"""

from tests.web.server import Asked, LocalWeb, Page, Site

__all__ = ["Asked", "LocalWeb", "Page", "Site"]
