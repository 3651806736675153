import asyncio

import pytest

from lab.waiting import place_of, working_time


async def test_a_wait_for_a_place_is_no_work() -> None:
    places = asyncio.Semaphore(0)

    async def work(seconds: float) -> str:
        async with working_time(0.2), place_of(places):
            await asyncio.sleep(seconds)
            return "done"

    quick, slow = asyncio.create_task(work(0)), asyncio.create_task(work(60))
    await asyncio.sleep(0.3)
    assert not quick.done()
    places.release()

    assert await quick == "done"
    with pytest.raises(TimeoutError):
        await slow
    async with asyncio.timeout(10), place_of(places):  # it was given back
        pass


async def test_who_waits_can_be_stopped() -> None:
    places = asyncio.Semaphore(0)

    async def work() -> None:
        async with working_time(60), place_of(places):
            pass

    waiting = asyncio.create_task(work())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    places.release()

    assert waiting.cancelled()
    async with asyncio.timeout(10), place_of(places):
        pass
