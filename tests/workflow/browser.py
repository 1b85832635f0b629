"""A headless Chromium, driven over the DevTools protocol, that notes every error and every request."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXECUTABLE = next(filter(None, map(shutil.which, NAMES)), None)
LOCAL = ("file:", "data:", "blob:", "about:")
PATIENCE = 60.0


class Browser:
    """One tab; `errors` holds what went wrong, `requests` what was asked of anything but the file itself."""

    def __init__(self, profile: Path, width: int = 1366, height: int = 768) -> None:
        command = [EXECUTABLE, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
        # No name resolves, so that a page that asks for something from the network shows it.
        command += [
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]
        command += ["--disable-background-networking", "--remote-allow-origins=*"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.contexts: list[int] = []
        self._number = 0
        try:
            self.socket = websocket.create_connection(self._address(), timeout=PATIENCE, max_size=None)
            target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
            self.session = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
            self._watch(self.session)
            self.resize(width, height)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _address(self) -> str:
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if "DevTools listening on" in line:
                return line.split()[-1]
        raise RuntimeError("Chromium did not start: " + "".join(lines))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)
        self.process.stderr.close()

    def send(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        """Call a method of the protocol and return its result; events that come meanwhile are noted."""
        number = self._post(method, parameters, session)
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._note(message)

    def _post(self, method: str, parameters: dict[str, Any] | None, session: str | None) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        self.socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        return self._number

    def _watch(self, session: str) -> None:
        for domain in ("Runtime", "Log", "Network", "Page"):
            self._post(f"{domain}.enable", None, session)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Runtime.executionContextCreated":
                self.contexts.append(parameters["context"]["id"])
            case "Runtime.executionContextDestroyed":
                self.contexts.remove(parameters["executionContextId"])
            case "Runtime.executionContextsCleared":
                self.contexts.clear()
            case "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                self.errors.append(str(details.get("exception", {}).get("description") or details["text"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "assert"):
                self.errors.append(
                    " ".join(str(item.get("value", item.get("description"))) for item in parameters["args"])
                )
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.errors.append(parameters["entry"]["text"])
            case "Network.requestWillBeSent":
                address = parameters["request"]["url"]
                if not address.startswith(LOCAL):
                    self.requests.append(address)

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", size, self.session)

    def open(self, path: Path) -> None:
        self.send("Page.navigate", {"url": path.resolve().as_uri()}, self.session)
        self.wait("document.readyState === 'complete'")

    def evaluate(self, expression: str, context: int | None = None) -> Any:
        """Return the value of a JavaScript expression, in the page or in the context of a frame."""
        parameters: dict[str, Any] = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        parameters |= {} if context is None else {"contextId": context}
        result = self.send("Runtime.evaluate", parameters, self.session)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str, context: int | None = None) -> None:
        """Wait until an expression is truthy."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(f"Boolean({expression})", context):
            assert time.monotonic() < end, f"waited in vain for {expression}; errors: {self.errors}"
            time.sleep(0.05)

    def inside(self, title: str) -> int:
        """Return the context of the frame whose document has a title, for `evaluate` and `wait`."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.evaluate("0")
            for context in list(self.contexts):
                if self.evaluate("document.title", context) == title:
                    return context
            time.sleep(0.05)
        raise AssertionError(f"no frame has the title {title}; errors: {self.errors}")

    def press(self, key: str) -> None:
        """Press a key that has the same name and code, such as ArrowDown."""
        codes = {"ArrowDown": 40}
        event = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.send("Input.dispatchKeyEvent", {"type": "keyDown", **event}, self.session)
        self.send("Input.dispatchKeyEvent", {"type": "keyUp", **event}, self.session)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", event, self.session)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen, or the whole page."""
        shot = self.send("Page.captureScreenshot", {"captureBeyondViewport": whole}, self.session)
        path.write_bytes(base64.b64decode(shot["data"]))
