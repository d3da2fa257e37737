"""Hands bytes on from one place to another and back.

    relay.py FROM TO [MILLISECONDS [LOSS]]

A place is tcp:HOST:PORT or unix:PATH; a unix socket leads from one network namespace into another. What goes to the
far side is held back by so many milliseconds, so that each call takes so much longer. Of a hundred pieces, on either
way, LOSS are lost: with such a piece its connection ends, or goes silent for good.
"""

import asyncio
import random
import sys


def parts(place):
    kind, _, rest = place.partition(":")
    if kind == "unix":
        return kind, rest
    host, _, port = rest.rpartition(":")
    return kind, (host, int(port))


async def reach(place):
    kind, where = parts(place)
    if kind == "unix":
        return await asyncio.open_unix_connection(where)
    return await asyncio.open_connection(*where)


async def hand_on(reader, writer, delay, loss):
    try:
        while chunk := await reader.read(65536):
            if random.random() < loss:
                if random.random() < 0.5:
                    break
                # What comes is read and goes nowhere, until the sender leaves.
                while await reader.read(65536):
                    pass
                break
            if delay:
                await asyncio.sleep(delay)
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main():
    near, far = sys.argv[1:3]
    delay = float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0
    loss = float(sys.argv[4]) / 100 if len(sys.argv) > 4 else 0

    async def relay(reader, writer):
        try:
            there, back = await reach(far)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            hand_on(reader, back, delay, loss), hand_on(there, writer, 0, loss)
        )

    kind, where = parts(near)
    if kind == "unix":
        server = await asyncio.start_unix_server(relay, where)
    else:
        server = await asyncio.start_server(relay, *where)
    async with server:
        await server.serve_forever()


asyncio.run(main())
