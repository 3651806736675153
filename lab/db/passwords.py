"""Passwords, of which only a slow hash is stored."""

import asyncio
import hashlib
import hmac
import secrets

COST, BLOCK_SIZE, PARALLEL = 2**14, 8, 1
"""Parameters of scrypt: 16 MiB and some 50 ms a guess."""


async def hash_password(password: str) -> str:
    """Return what is stored of a password: the method, its parameters, the salt, the hash."""
    salt = secrets.token_bytes(16)
    digest = await asyncio.to_thread(_scrypt, password, salt, COST, BLOCK_SIZE, PARALLEL)
    return f"scrypt${COST}${BLOCK_SIZE}${PARALLEL}${salt.hex()}${digest.hex()}"


async def password_fits(password: str, stored: str) -> bool:
    """Return whether a password is the one that was stored, in constant time."""
    _, cost, block_size, parallel, salt, digest = stored.split("$")
    found = await asyncio.to_thread(
        _scrypt, password, bytes.fromhex(salt), int(cost), int(block_size), int(parallel)
    )
    return hmac.compare_digest(found, bytes.fromhex(digest))


def _scrypt(password: str, salt: bytes, cost: int, block_size: int, parallel: int) -> bytes:
    return hashlib.scrypt(
        password.encode(errors="surrogatepass"), salt=salt, n=cost, r=block_size, p=parallel
    )
