#!/usr/bin/python3
"""OpenStack Swift with its S3 interface, in one process, for tests: an S3 server of somebody else's, which checks signatures.

    swift_server.py FOLDER BUCKET ID SECRET

Keeps its data in FOLDER, which must be on a file system with extended attributes, and makes the bucket; its key is test:ID. Says
"listening on PORT" when it is ready. Each line on standard input is answered by the names of all objects of the bucket and of the parts
of uploads (bucket+segments), by Swift's own interface, and the word END; its end ends the server. Debian: python3-swift.
"""
import array
import os
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import eventlet
eventlet.monkey_patch()

from eventlet import wsgi  # noqa: E402
from swift.common import ring, utils  # noqa: E402


class Cache:
    """What Swift wants of memcached."""

    def __init__(self):
        self.values = {}

    def get(self, key, *_, **__):
        return self.values.get(key)

    def set(self, key, value, *_, **__):
        self.values[key] = value

    def delete(self, key, *_, **__):
        self.values.pop(key, None)


def main():
    folder, bucket, key, secret = sys.argv[1:]
    folder = os.path.abspath(folder)
    try:
        os.setxattr(folder, "user.test", b"1")
    except OSError as error:
        sys.exit(f"swift_server.py: {folder} has no extended attributes ({error}): choose another TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    with open(os.path.join(folder, "swift.conf"), "w", encoding="ascii") as file:
        file.write("[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n[storage-policy:0]\nname = one\ndefault = yes\n")
    utils.set_swift_dir(folder)
    from swift.common.storage_policy import reload_storage_policies
    reload_storage_policies()
    from swift.account import server as account
    from swift.container import server as container
    from swift.obj import server as object_server

    sockets = {name: eventlet.listen(("127.0.0.1", 0)) for name in ("account", "container", "object", "proxy")}
    port = {name: one.getsockname()[1] for name, one in sockets.items()}
    os.makedirs(os.path.join(folder, "devices", "disk"))
    for name in ("account", "container", "object"):
        devices = [{"id": 0, "zone": 0, "region": 1, "weight": 1.0, "device": "disk", "ip": "127.0.0.1", "port": port[name],
                    "replication_ip": "127.0.0.1", "replication_port": port[name], "meta": ""}]
        ring.RingData([array.array("H", [0, 0, 0, 0])], devices, 30).save(os.path.join(folder, name + ".ring.gz"))
    conf = {"devices": os.path.join(folder, "devices"), "swift_dir": folder, "mount_check": "false", "bind_ip": "127.0.0.1",
            "disable_fallocate": "true", "allow_versions": "true"}
    with open(os.path.join(folder, "proxy.conf"), "w", encoding="ascii") as file:
        file.write(f"""[DEFAULT]
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors gatekeeper bulk s3api tempauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_{key} = {secret} .admin
storage_url_scheme = http
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
""")
    from swift.common.wsgi import loadapp
    logger = open(os.path.join(folder, "log"), "w", encoding="utf-8")
    apps = {"account": account.AccountController(conf), "container": container.ContainerController(conf),
            "object": object_server.ObjectController(conf)}
    for name, app in apps.items():
        eventlet.spawn(wsgi.server, sockets[name], app, log=logger, debug=False)
    proxy, cache = loadapp(os.path.join(folder, "proxy.conf"), global_conf={}), Cache()

    def with_cache(environment, start):
        environment["swift.cache"] = cache
        return proxy(environment, start)
    eventlet.spawn(wsgi.server, sockets["proxy"], with_cache, log=logger, debug=False)
    at = f"http://127.0.0.1:{port['proxy']}"
    who = urllib.request.Request(at + "/auth/v1.0", headers={"X-Auth-User": "test:" + key, "X-Auth-Key": secret})
    with urllib.request.urlopen(who) as reply:
        token = reply.headers["X-Auth-Token"]
    with urllib.request.urlopen(urllib.request.Request(f"{at}/v1/AUTH_test/{bucket}", method="PUT", headers={"X-Auth-Token": token})):
        pass
    print("listening on", port["proxy"], flush=True)
    while eventlet.tpool.execute(sys.stdin.readline):
        names = []
        for place in (bucket, urllib.parse.quote(bucket + "+segments")):
            try:
                with urllib.request.urlopen(urllib.request.Request(f"{at}/v1/AUTH_test/{place}", headers={"X-Auth-Token": token})) as reply:
                    names += [f"{urllib.parse.unquote(place)}/{name}" for name in reply.read().decode().split("\n") if name]
            except urllib.error.HTTPError as error:
                if error.code != 404:  # there was no upload in parts yet
                    raise
        print(*names, "END", flush=True)


if __name__ == "__main__":
    main()
