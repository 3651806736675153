"""
The web, as far as a public address leads.

Whoever gives the lab an address makes it go there, from inside the operator's network. `Guard` says
where it may go, `guarded_client` goes nowhere else, and `Fetcher` brings what is there, within
limits.
"""

from lab.web.fetching import Fetched, Fetcher, guarded_client
from lab.web.guard import Guard

__all__ = ["Fetched", "Fetcher", "Guard", "guarded_client"]
