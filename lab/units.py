"""Numbers for people."""


def sized(n_bytes: float) -> str:
    """
    Return a number of bytes for people, in powers of ten.

    >>> sized(16_060_000_000), sized(1_500_000)
    ('16.1 GB', '1.5 MB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
