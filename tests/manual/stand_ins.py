"""What Azure offers a machine, for sign-in.sh: a managed identity's endpoints, and a login service that keeps forms.

    stand_ins.py LOG TENANT APP

Listens on a free port of 127.0.0.1, prints its address and writes a line into LOG for each call.
"""

import base64
import http.server
import json
import sys
import time
import urllib.parse


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def note(self, line):
        with open(sys.argv[1], "a", encoding="utf-8") as log:
            log.write(line + "\n")

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def token(tenant, app):
    claims = {"tid": tenant, "appid": app, "aud": "https://api.securitycenter.microsoft.com",
              "roles": ["Machine.Scan", "Machine.Read.All"], "exp": int(time.time()) + 3600}
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{part}.c2ln"


class Endpoints(Quiet):
    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        tenant, app = sys.argv[2:4]
        header = self.headers.get("x-identity-header")
        self.note(f"GET {url.path} client_id={query.get('client_id', '-')} resource={query.get('resource', '-')}"
                  f" metadata={self.headers.get('metadata', '-')} header={header or '-'}")
        if self.headers.get("metadata") != "true" or (url.path == "/msi/token" and header != "the-header"):
            self.answer(400, {"error": "invalid_request", "error_description": "Required metadata header not specified"})
        elif query.get("client_id", "").startswith("0"):
            self.answer(400, {"error": "invalid_request", "error_description": "Identity not found"})
        else:
            self.answer(200, {"access_token": token(tenant, app), "expires_on": str(int(time.time()) + 3600),
                              "resource": query.get("resource"), "token_type": "Bearer"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.note(json.dumps(dict(urllib.parse.parse_qsl(body))))
        self.answer(200, {"access_token": token(*sys.argv[2:4]), "expires_in": 3600, "token_type": "Bearer"})


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoints)
    print(f"at http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


main()
