"""Fetches the keys of an issuer: one answer of bounded size, in bounded time, from nowhere else."""

from __future__ import annotations

import aiohttp

from sidecar.errors import IdentityError
from sidecar.identity.jwks import LARGEST
from sidecar.identity.key_sets import WITHIN, Fetch


def fetcher(session: aiohttp.ClientSession) -> Fetch:
    """By this session."""

    async def fetch(url: str) -> bytes:
        timeout = aiohttp.ClientTimeout(total=WITHIN)
        try:
            # A redirect would say whom to believe instead of the document.
            async with session.get(
                url, timeout=timeout, allow_redirects=False, headers={"accept": "application/json"}
            ) as answer:
                if answer.status != 200:
                    raise IdentityError(f"it answers with {answer.status}; expected 200")
                data = await answer.content.read(LARGEST + 1)
                while len(data) <= LARGEST and (more := await answer.content.read(LARGEST + 1 - len(data))):
                    data += more
                return data
        except TimeoutError:
            raise IdentityError(f"it does not answer within {WITHIN:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise IdentityError(f"it cannot be reached: {error}") from None

    return fetch
