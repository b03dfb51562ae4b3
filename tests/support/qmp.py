"""A client of QMP, for the scripts of tests/bench and tests/long."""
import json
import socket
import sys
import time

LIMIT = 60  # seconds until QEMU has made its socket


class Qmp:
    """A connection to QMP, past its negotiation. Each answer has `limit` seconds (None: as long as it takes). `events` has the moment of the
    last event of each name, in seconds by QEMU's clock. What goes wrong ends the program."""

    def __init__(self, path, limit=None):
        self.socket = socket.socket(socket.AF_UNIX)
        until = time.monotonic() + LIMIT
        while self.socket.connect_ex(str(path)) != 0:
            if time.monotonic() > until:
                sys.exit(f"nobody listens at {path}")
            time.sleep(0.05)
        self.socket.settimeout(limit)
        self.stream = self.socket.makefile("rb")  # a text stream for both ways forgets at a write what it has read ahead
        self.events = {}
        self.stream.readline()
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        self.socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        for line in self.stream:
            reply = json.loads(line)
            if "event" in reply:
                stamp = reply["timestamp"]
                self.events[reply["event"]] = stamp["seconds"] + stamp["microseconds"] / 1e6
            elif "error" in reply:
                sys.exit(f"QEMU: {name}: {reply['error']}")
            else:
                return reply["return"]
        sys.exit(f"QEMU: {name}: the connection has ended")

    def pause(self):
        """In milliseconds, of the last one. The answer to a question comes after all events."""
        self.command("query-status")
        return (self.events["RESUME"] - self.events["STOP"]) * 1000

    def close(self):
        self.stream.close()
        self.socket.close()
