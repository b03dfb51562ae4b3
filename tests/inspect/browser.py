#!/usr/bin/env python3
"""Opens a page in headless Chromium, does what a list of steps says, and prints what came of it as one JSON object.

    browser.py PAGE [STEP...]

Steps, in order:
    dark | light             the system's colour scheme
    paper | screen           as if it were printed: style and script alike
    size=WIDTHxHEIGHT        of the window
    eval=EXPRESSION          its value, as JSON, is added to "values"
    click=SELECTOR[@X,Y]     the left button, in the middle of the element or at an offset from its corner
    double=SELECTOR@X,Y      a double click
    move=SELECTOR@X,Y        the pointer
    wheel=SELECTOR@X,Y,DY
    key=NAME                 "a", "/", "Enter", "ArrowDown", ...
    type=TEXT
    print=FILE               to PDF
    shot=FILE                a screenshot (PNG) of the window; shot-all=FILE of the whole page

The object has "values", "errors" (console errors, exceptions, violations of the page's policy), "requests" (URLs other
than the page's own) and "drawn_ms" (from the start of the navigation to the page's last drawing).

Speaks the DevTools protocol over a pipe (--remote-debugging-pipe): no port, no library.
"""
import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


class Browser:
    def __init__(self, profile):
        to_browser, self.out = os.pipe()
        self.inp, from_browser = os.pipe()

        def adopt():  # DevTools reads descriptor 3 and writes 4
            a, b = os.dup(to_browser), os.dup(from_browser)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            [shutil.which("chromium") or "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
             "--force-color-profile=srgb", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=adopt, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.reader = os.fdopen(self.inp, "rb")
        self.buffer = b""
        self.number = 0
        self.session = None
        self.scheme = []
        self.events = []

    def message(self):
        while b"\0" not in self.buffer:
            more = os.read(self.inp, 1 << 20)
            if not more:
                raise RuntimeError("Chromium ended")
            self.buffer += more
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.number += 1
        request = {"id": self.number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data):]
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def settle(self):
        """Two frames later everything that was queued for drawing is drawn."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def navigate(self, url):
        """Opens the page and waits until it has drawn all that it draws by itself. Milliseconds from the start of the navigation
        until then, by the page's own clock, so that nothing of this program is part of it."""
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        loader = self.call("Page.navigate", url=url)["loaderId"]
        seen, deadline = 0, time.monotonic() + 60
        while not any(e.get("method") == "Page.lifecycleEvent" and e["params"]["name"] == "load" and e["params"]["loaderId"] == loader
                      for e in self.events[seen:]):
            seen = len(self.events)
            if not select.select([self.inp], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the page was not loaded within 60 s")
            self.events.append(self.message())
        self.settle()
        ready, milliseconds = self.evaluate("[document.documentElement.dataset.ready === 'yes', performance.now()]")
        if not ready:
            raise RuntimeError("the page is loaded, but its script has not come to its end")
        return milliseconds

    def place(self, target):
        selector, _, offset = target.partition("@")
        box = self.evaluate(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
                            "e.scrollIntoViewIfNeeded(); const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()")
        numbers = [float(n) for n in offset.split(",")] if offset else [box[2] / 2, box[3] / 2]
        return box[0] + numbers[0], box[1] + numbers[1], numbers[2:]

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, target, times):
        x, y, _ = self.place(target)
        self.mouse("mouseMoved", x, y)
        for n in range(1, times + 1):
            self.mouse("mousePressed", x, y, button="left", clickCount=n)
            self.mouse("mouseReleased", x, y, button="left", clickCount=n)

    def key(self, name):
        codes = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Home": 36}
        text = name if len(name) == 1 else "\r" if name == "Enter" else ""
        code = codes.get(name, ord(name.upper()) if len(name) == 1 and name.isalnum() else 0)
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", key=name, text=text,
                  windowsVirtualKeyCode=code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)

    def shot(self, path, whole):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(data["data"]))

    def do(self, step, values):
        name, _, argument = step.partition("=")
        if name in ("dark", "light"):
            self.scheme = [{"name": "prefers-color-scheme", "value": name}]
            self.call("Emulation.setEmulatedMedia", features=self.scheme)
        elif name in ("paper", "screen"):
            self.call("Emulation.setEmulatedMedia", media="print" if name == "paper" else "", features=self.scheme)
            self.evaluate(f"dispatchEvent(new Event('{'before' if name == 'paper' else 'after'}print'))")
        elif name == "size":
            width, height = argument.split("x")
            self.call("Emulation.setDeviceMetricsOverride", width=int(width), height=int(height), deviceScaleFactor=1, mobile=False)
        elif name == "eval":
            values.append(self.evaluate(argument))
        elif name in ("click", "double"):
            self.click(argument, 1 if name == "click" else 2)
        elif name == "move":
            self.mouse("mouseMoved", *self.place(argument)[:2])
        elif name == "wheel":
            x, y, more = self.place(argument)
            self.mouse("mouseWheel", x, y, deltaX=0, deltaY=more[0])
        elif name == "key":
            self.key(argument)
        elif name == "type":
            self.call("Input.insertText", text=argument)
        elif name == "print":
            Path(argument).write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))
        elif name in ("shot", "shot-all"):
            self.shot(argument, name == "shot-all")
        else:
            raise SystemExit(f"browser.py: no such step: {step}")
        self.settle()


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    url = Path(sys.argv[1]).resolve().as_uri()
    steps = sys.argv[2:]
    values = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            target = browser.call("Target.createTarget", url="about:blank")["targetId"]
            browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                browser.call(f"{domain}.enable")
            while steps and steps[0].partition("=")[0] in ("dark", "light", "size"):
                browser.do(steps.pop(0), values)
            drawn = browser.navigate(url)
            for step in steps:
                browser.do(step, values)
            browser.call("Runtime.evaluate", expression="0")
        finally:
            browser.process.kill()
            browser.process.wait()
    errors, requests = [], []
    for event in browser.events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            errors.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            errors.append(str(params["args"]))
        elif method == "Network.requestWillBeSent" and params["request"]["url"] not in (url, "about:blank"):
            requests.append(params["request"]["url"])
    print(json.dumps({"values": values, "errors": errors, "requests": requests, "drawn_ms": round(drawn)}))


main()
