"""Sends cancels of made-up actions at an even rate, as the best client of a rate limiter would.

    even_rate.py URL TOKEN CALLS-PER-SECOND SECONDS

Call n leaves n/rate seconds after the start, whatever became of those before it. Several connections take turns, so that
an answer may take longer than the time to the next call.
"""

import http.client
import sys
import threading
import time
import urllib.parse

CONNECTIONS = 8


def main():
    url, token, rate, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    place = urllib.parse.urlsplit(url).netloc
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    calls = int(rate * seconds)
    began = time.monotonic()

    def take_turns(first):
        connection = http.client.HTTPConnection(place, timeout=30)
        for number in range(first, calls, CONNECTIONS):
            time.sleep(max(0, began + number / rate - time.monotonic()))
            path = f"/api/machineactions/ffffffff-0000-4000-8000-{number:012x}/cancel"
            connection.request("POST", path, '{"Comment":"even"}', headers)
            connection.getresponse().read()

    turns = [threading.Thread(target=take_turns, args=(first,)) for first in range(CONNECTIONS)]
    for turn in turns:
        turn.start()
    for turn in turns:
        turn.join()


main()
