"""All cancels at once behind a pyrate-limiter of several windows; what a 429 says is waited out.

    with_pyrate_limiter.py URL IDS {CALLS/PERIOD-IN-SECONDS}...
"""

import asyncio
import sys

import aiohttp
import pyrate_limiter

HEADERS = {"Authorization": "Bearer any-word"}


async def cancel(session, limiter, action):
    for _ in range(5):
        await limiter.try_acquire_async("cancel")
        async with session.post(f"/api/machineactions/{action}/cancel", json={"Comment": "wrong wave"}) as answer:
            if answer.status != 429:
                return print(action, answer.status, flush=True)
            wait = float(answer.headers.get("Retry-After", 1))
        await asyncio.sleep(wait)
    print(action, "given up", flush=True)


async def main():
    url, ids, windows = sys.argv[1], sys.argv[2], (window.split("/") for window in sys.argv[3:])
    rates = [pyrate_limiter.Rate(int(calls), int(float(period) * 1000)) for calls, period in windows]
    bucket = pyrate_limiter.BucketAsyncWrapper(pyrate_limiter.InMemoryBucket(rates))
    limiter = pyrate_limiter.Limiter(bucket)
    async with aiohttp.ClientSession(url, headers=HEADERS) as session:
        with open(ids, encoding="utf-8") as lines:
            await asyncio.gather(*(cancel(session, limiter, line.strip()) for line in lines))


asyncio.run(main())
