"""All cancels at once behind an aiolimiter of one window; what a 429 says is waited out.

    with_aiolimiter.py URL IDS CALLS PERIOD-IN-SECONDS
"""

import asyncio
import sys

import aiohttp
import aiolimiter

HEADERS = {"Authorization": "Bearer any-word"}


async def cancel(session, limiter, action):
    for _ in range(5):
        async with limiter:
            async with session.post(f"/api/machineactions/{action}/cancel", json={"Comment": "wrong wave"}) as answer:
                if answer.status != 429:
                    return print(action, answer.status, flush=True)
                wait = float(answer.headers.get("Retry-After", 1))
        await asyncio.sleep(wait)
    print(action, "given up", flush=True)


async def main():
    url, ids, calls, period = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    limiter = aiolimiter.AsyncLimiter(calls, period)
    async with aiohttp.ClientSession(url, headers=HEADERS) as session:
        with open(ids, encoding="utf-8") as lines:
            await asyncio.gather(*(cancel(session, limiter, line.strip()) for line in lines))


asyncio.run(main())
