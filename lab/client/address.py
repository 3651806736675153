"""Where the API is."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Address:
    """
    Where the API is.

    Attributes
    ----------
    url : str
        Its address, without `/v1`.
    token : str
        A token of the hub or an API key; never shown.
    """

    url: str
    token: str = field(repr=False)
