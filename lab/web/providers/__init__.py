"""Who searches the web: one module a provider."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

import httpx

from lab.errors import ConfigError
from lab.protocols import SearchProvider
from lab.schemas.search_config import SearchConfig
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.web.providers.brave import Brave
from lab.web.providers.duckduckgo import DuckDuckGo
from lab.web.providers.google import Google
from lab.web.providers.searxng import Searxng
from lab.web.providers.serper import Serper

Make = Callable[[SearchConfig, httpx.AsyncClient], SearchProvider]

PROVIDERS: Final = MappingProxyType[SearchProviderKind, Make](
    {
        SearchProviderKind.searxng: Searxng,
        SearchProviderKind.brave: Brave,
        SearchProviderKind.serper: Serper,
        SearchProviderKind.google: Google,
        SearchProviderKind.duckduckgo: DuckDuckGo,
    }
)
"""All but the local one, which is no server."""


def open_provider(
    kind: SearchProviderKind, config: SearchConfig, http: httpx.AsyncClient
) -> SearchProvider:
    """
    Return a provider.

    Parameters
    ----------
    kind : SearchProviderKind
        Which one; not the local one.
    config : SearchConfig
        Its address and key.
    http : AsyncClient
        What it asks by.

    Raises
    ------
    ConfigError
        If it lacks a setting.
    """
    for name in NEEDED.get(kind, ()):
        if getattr(config, name) is None:
            raise ConfigError(
                f"The search provider `{kind}` needs `search.{name}` (LAB_SEARCH_{name.upper()}); "
                "set it, or leave the provider out of `search.providers`."
            )
    return PROVIDERS[kind](config, http)


NEEDED: Final = MappingProxyType(
    {
        SearchProviderKind.searxng: ("searxng_url",),
        SearchProviderKind.brave: ("brave_key",),
        SearchProviderKind.serper: ("serper_key",),
        SearchProviderKind.google: ("google_key", "google_engine"),
    }
)
"""Settings without which a provider cannot be asked."""
