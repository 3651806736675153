"""How the supervisor sees that a process is ready."""

from collections.abc import Awaitable, Callable, Mapping

import httpx

Probe = Callable[[], Awaitable[bool]]
TIMEOUT_S = 5.0


def answers(url: str, headers: Mapping[str, str] | None = None, *, below: int = 300) -> Probe:
    """Return a probe of whether the address answers with a status below that number."""

    async def probe() -> bool:
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
                response = await client.get(url, headers=headers)
        except httpx.TransportError:
            return False
        return response.status_code < below

    return probe
