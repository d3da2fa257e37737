"""One cancel after the other, with a rest after each; what a 429 says is waited out.

    loop.py URL IDS REST-IN-SECONDS
"""

import sys
import time
import urllib.error
import urllib.request

HEADERS = {"Authorization": "Bearer any-word", "Content-Type": "application/json"}

url, ids, rest = sys.argv[1], sys.argv[2], float(sys.argv[3])


def cancel(action):
    for _ in range(5):
        try:
            call = urllib.request.Request(
                f"{url}/api/machineactions/{action}/cancel", b'{"Comment":"wrong wave"}', HEADERS
            )
            with urllib.request.urlopen(call) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            if error.code != 429:
                return error.code
            time.sleep(float(error.headers.get("Retry-After", 1)))
    return "given up"


for line in open(ids, encoding="utf-8"):
    print(line.strip(), cancel(line.strip()), flush=True)
    time.sleep(rest)
