#!/usr/bin/python3
"""A server of files for tests and benchmarks: HTTP with ranges, as badly as it is told to, and as much of S3 as a dump
needs. It shares no code with what it is for.

    server.py FOLDER [--latency SECONDS] [--rate BYTES] [--keys ID:SECRET[:TOKEN]] [--region REGION]

Serves the files of FOLDER on 127.0.0.1, on a port that the system chooses, and says so on standard output:
"listening on PORT". With --keys it is S3: the first folder of a path is a bucket, and every request must be signed (AWS
Signature Version 4) with them. --latency: before each reply, and once more on each new connection; --rate: of all
connections together.

Commands come on standard input, a JSON object a line; each is answered by a line of JSON and the word END.

    {"rules": [RULE...]}   in place of those before. A rule is for the next requests of files: it has "times" (default:
                           for ever), "skip" (so many requests before it), "method" (default: any), and "do":
        status             answers with "status", and with the headers in "headers"
        cut                closes the connection half-way through the body
        stall              stops half-way through the body, until the client leaves
        no-ranges          answers 200 with all of it
        wrong-range        Content-Range is "value"
        longer             sends more than it says that it does, without Content-Length
        change             the file is another one: ETag, Last-Modified and (with "size") length differ
        etag               the ETag is "value"; null: there is none
        answer             (S3) answers 200 with the document "body"
        wait               before the reply, until {"go": true}
    {"log": true}          the requests since the last time: method, path, query, range, status, headers
    {"state": true}        (S3) uploads that are under way
    {"go": true}           ends the waiting of a rule `wait`
"""
import argparse
import hashlib
import hmac
import http.server
import json
import os
import re
import sys
import threading
import time
import urllib.parse
import uuid


class State:
    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.rules, self.log, self.uploads = [], [], {}
        self.go = threading.Event()
        self.free_at = 0.0  # when the line is free again

    def rule_for(self, method):
        with self.lock:
            for rule in self.rules:
                if rule.get("method", method) != method:
                    continue
                if rule.get("skip", 0) > 0:
                    rule["skip"] -= 1
                    continue
                if rule.get("times", 1) <= 0:
                    continue
                if "times" in rule:
                    rule["times"] -= 1
                return rule
        return {"do": ""}

    def take_line(self, size):
        """Waits as long as `size` bytes take on a line that all connections share."""
        if not self.options.rate:
            return
        with self.lock:
            now = time.monotonic()
            self.free_at = max(self.free_at, now) + size / self.options.rate
            wait = self.free_at - now
        if wait > 0.002:
            time.sleep(wait)


class Refused(Exception):
    def __init__(self, status, code):
        super().__init__(code)
        self.status, self.code = status, code


def check_signature(keys, region, method, raw_path, query, headers, payload):
    """As AWS's manual has it; raises Refused."""
    key_id, secret, token = keys
    match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request,\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]{64})",
                         headers.get("authorization", ""))
    if not match:
        raise Refused(403, "AccessDenied")
    given_id, date, given_region, signed, signature = match.groups()
    if given_id != key_id:
        raise Refused(403, "InvalidAccessKeyId")
    if token and headers.get("x-amz-security-token") != token:
        raise Refused(403, "InvalidToken")
    if given_region != region:
        raise Refused(400, "AuthorizationHeaderMalformed")
    names = signed.split(";")
    must = {"host", *(name for name in headers if name.startswith("x-amz-"))}
    if names != sorted(names) or not must <= set(names) or "x-amz-content-sha256" not in names:
        raise Refused(403, "AccessDenied")
    claimed = headers["x-amz-content-sha256"]
    if claimed != "UNSIGNED-PAYLOAD" and claimed != hashlib.sha256(payload).hexdigest():
        raise Refused(400, "XAmzContentSHA256Mismatch")
    when = headers["x-amz-date"]
    if abs(time.time() - time.mktime(time.strptime(when, "%Y%m%dT%H%M%SZ")) + time.timezone) > 900:
        raise Refused(403, "RequestTimeTooSkewed")

    def encode(text):
        return urllib.parse.quote(text, safe="-._~")
    pairs = sorted((encode(name), encode(value)) for name, value in query)
    canonical = "\n".join([method, "/".join(encode(urllib.parse.unquote(part)) for part in raw_path.split("/")),
                           "&".join(f"{name}={value}" for name, value in pairs),
                           *(f"{name}:{' '.join(headers[name].split())}" for name in names), "", signed, claimed])
    scope = f"{date}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", when, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + secret.encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest(), signature):
        raise Refused(403, "SignatureDoesNotMatch")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state = None

    def setup(self):
        super().setup()
        self.connection.setsockopt(6, 1, 1)  # TCP_NODELAY
        time.sleep(self.state.options.latency)

    def log_message(self, *_):
        pass

    def note(self, status):
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.state.lock:
            self.state.log.append({"method": self.command, "path": self.raw_path, "query": self.query, "status": status,
                                   "range": headers.get("range"), "headers": headers})

    def answer(self, status, body=b"", headers=()):
        self.note(status)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code):
        # What a real server sends: more than anybody should repeat.
        secret = self.headers.get("authorization", "")
        self.answer(status, f"<Error><Code>{code}</Code><Message>{secret}</Message></Error>".encode())

    def do(self):
        parts = urllib.parse.urlsplit(self.path)
        self.raw_path, self.query = parts.path, urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
        payload = self.rfile.read(int(self.headers.get("content-length", 0)))
        options = self.state.options
        time.sleep(options.latency)
        rule = self.state.rule_for(self.command)
        if rule["do"] == "wait":
            self.state.go.wait()
            rule = {"do": ""}
        if rule["do"] == "status":
            return self.answer(rule["status"], rule.get("body", "").encode(), rule.get("headers", {}).items())
        if rule["do"] == "answer":
            return self.answer(200, rule["body"].encode())
        path = os.path.normpath(os.path.join(options.folder, urllib.parse.unquote(self.raw_path).lstrip("/")))
        if options.keys:
            try:
                check_signature(options.keys, options.region, self.command, self.raw_path, self.query,
                                {name.lower(): value for name, value in self.headers.items()}, payload)
                return self.s3(path, payload, rule)
            except Refused as refused:
                return self.error(refused.status, refused.code)
        return self.file(path, rule)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do

    def s3(self, path, payload, rule):
        query = dict(self.query)
        bucket = os.path.join(self.state.options.folder, self.raw_path.split("/")[1])
        if not os.path.isdir(bucket):
            raise Refused(404, "NoSuchBucket")
        if self.command == "POST" and "uploads" in query:
            upload = f"id&{uuid.uuid4()}"
            self.state.uploads[upload] = {"path": path, "parts": {}}
            return self.answer(200, f"<X><UploadId>{upload.replace('&', '&amp;')}</UploadId></X>".encode())
        if "uploadId" in query:
            upload = self.state.uploads.get(query["uploadId"])
            if upload is None or upload["path"] != path:
                raise Refused(404, "NoSuchUpload")
            if self.command == "PUT":
                upload["parts"][int(query["partNumber"])] = payload
                return self.answer(200, headers=[("ETag", f'"{hashlib.md5(payload).hexdigest()}"')])
            if self.command == "DELETE":
                del self.state.uploads[query["uploadId"]]
                return self.answer(204)
            if self.command == "POST":
                return self.complete(query["uploadId"], upload, payload)
        if self.command in ("GET", "HEAD"):
            if not os.path.isfile(path):
                raise Refused(404, "NoSuchKey")
            return self.file(path, rule)
        raise Refused(400, "NotImplemented")

    def complete(self, name, upload, payload):
        named = re.findall(r"<Part><PartNumber>(\d+)</PartNumber><ETag>&quot;([0-9a-f]+)&quot;</ETag></Part>", payload.decode())
        parts = upload["parts"]
        if self.headers.get("if-none-match") == "*" and os.path.exists(upload["path"]):
            raise Refused(412, "PreconditionFailed")
        if [(str(n), hashlib.md5(parts[n]).hexdigest()) for n in sorted(parts)] != named:
            raise Refused(400, "InvalidPart")
        if any(len(parts[n]) < 5 << 20 for n in sorted(parts)[:-1]):
            raise Refused(400, "EntityTooSmall")
        os.makedirs(os.path.dirname(upload["path"]), exist_ok=True)
        with open(upload["path"], "wb") as file:
            for number in sorted(parts):
                file.write(parts[number])
        del self.state.uploads[name]
        self.answer(200, b"<CompleteMultipartUploadResult/>")

    def file(self, path, rule):
        do = rule["do"]
        if not os.path.isfile(path):
            return self.error(404, "NotFound")
        size, changed = os.path.getsize(path), do == "change"
        total = rule.get("size", size) if changed else size
        etag, modified = f'"{os.stat(path).st_mtime_ns:x}-{size:x}"', "Mon, 02 Mar 2026 10:00:00 GMT"
        if changed:
            etag, modified = '"another"', "Tue, 03 Mar 2026 10:00:00 GMT"
        if do == "etag":
            etag = rule["value"]
        if changed and rule.get("late"):  # the server that checks If-Match does it before
            pass
        elif self.headers.get("if-match") not in (None, etag):
            return self.error(412, "PreconditionFailed")
        headers = [("Last-Modified", modified), ("Accept-Ranges", "bytes")] + ([("ETag", etag)] if etag else [])
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        first, end, status = 0, size, 200
        if wanted and do != "no-ranges":
            first, end = int(wanted[1]), min(int(wanted[2]) + 1, size)
            if first >= size:
                return self.answer(416, headers=[("Content-Range", f"bytes */{size}")])
            status = 206
            value = rule["value"] if do == "wrong-range" else f"bytes {first}-{end - 1}/{total}"
            if value is not None:
                headers.append(("Content-Range", value))
        self.note(status)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if do == "longer":
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(end - first))
        self.end_headers()
        if self.command != "HEAD":
            self.body(path, first, end, do)

    def body(self, path, first, end, do):
        left = (end - first) // 2 if do in ("cut", "stall") else end - first
        with open(path, "rb") as file:
            file.seek(first)
            while left > 0:
                piece = file.read(min(left, 256 << 10))
                self.state.take_line(len(piece))
                self.wfile.write(piece)
                left -= len(piece)
        if do == "longer":
            self.wfile.write(b"more" * 1000)
        if do == "stall":
            self.wfile.flush()
            self.connection.recv(1)
        if do in ("cut", "stall"):
            self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):  # clients leave as they like
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--latency", type=float, default=0)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--keys", type=lambda text: (text.split(":") + [""])[:3])
    parser.add_argument("--region", default="us-east-1")
    state = State(parser.parse_args())
    Handler.state = state
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening on {server.server_address[1]}", flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        with state.lock:
            if "rules" in command:
                state.rules = command["rules"]
                reply = "rules"
            elif "log" in command:
                reply, state.log = state.log, []
            elif "state" in command:
                reply = [{"path": upload["path"], "parts": len(upload["parts"])} for upload in state.uploads.values()]
            else:
                state.go.set()
                reply = "gone"
        print(json.dumps(reply), "END", flush=True)


if __name__ == "__main__":
    main()
