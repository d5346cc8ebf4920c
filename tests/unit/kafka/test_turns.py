"""Turns keep the order within a key and hold nobody else up."""

import asyncio

from app.kafka.turns import Turns


async def test_users_of_one_key_go_one_by_one_in_the_order_they_came():
    turns, seen, gate = Turns(), [], asyncio.Event()

    async def use(name):
        async with turns.turn(b"k"):
            seen.append(f"{name} begins")
            await gate.wait()
            seen.append(f"{name} ends")

    users = [asyncio.create_task(use(name)) for name in "abc"]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*users)
    assert seen == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


async def test_other_keys_do_not_wait_and_nothing_is_kept():
    turns = Turns()
    async with turns.turn(b"a"), turns.turn(b"b"):
        assert len(turns._queues) == 2
    assert turns._queues == {}


async def test_a_user_that_fails_or_is_cancelled_gives_the_key_on():
    turns = Turns()

    async def hold():
        async with turns.turn(b"k"):
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    waiter = asyncio.create_task(hold())
    await asyncio.sleep(0)
    waiter.cancel()
    holder.cancel()
    await asyncio.gather(holder, waiter, return_exceptions=True)
    async with asyncio.timeout(60), turns.turn(b"k"):
        pass
    assert turns._queues == {}
