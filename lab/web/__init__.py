"""
The web, as far as a public address leads.

Whoever gives the lab an address makes it go there, from inside the operator's network. `Guard` says
where it may go, `guarded_client` goes nowhere else, and `Fetcher` brings what is there, within
limits. `Crawl` reads pages with their links in a child process, `Replay` their snapshots, and
`ask_all` asks those who search the web.
"""

from lab.web.crawling import Crawl
from lab.web.fetching import Fetched, Fetcher, guarded_client
from lab.web.guard import Guard
from lab.web.pages import Outcome, PageSource, ReadPage
from lab.web.providers import open_provider
from lab.web.replaying import Replay, Snapshot
from lab.web.searching import Answers, Merged, ask_all, merged
from lab.web.urls import canonical
from lab.web.warc import snapshot

__all__ = [
    "Answers",
    "Crawl",
    "Fetched",
    "Fetcher",
    "Guard",
    "Merged",
    "Outcome",
    "PageSource",
    "ReadPage",
    "Replay",
    "Snapshot",
    "ask_all",
    "canonical",
    "guarded_client",
    "merged",
    "open_provider",
    "snapshot",
]
