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
        self.frames: list[str] = []
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
        # Frames may live in a process of their own; they wait until they are watched too.
        attach = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
        self._post("Target.setAutoAttach", attach, session)
        self._post("Runtime.runIfWaitingForDebugger", None, session)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Target.attachedToTarget":
                if parameters["targetInfo"]["type"] == "iframe":
                    self.frames.append(parameters["sessionId"])
                    self._watch(parameters["sessionId"])
            case "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                self.errors.append(str(details.get("exception", {}).get("description") or details["text"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
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

    def evaluate(self, expression: str, session: str | None = None) -> Any:
        """Return the value of a JavaScript expression."""
        parameters = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = self.send("Runtime.evaluate", parameters, session or self.session)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str, session: str | None = None) -> None:
        """Wait until an expression is truthy."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(f"Boolean({expression})", session):
            assert time.monotonic() < end, f"waited in vain for {expression}; errors: {self.errors}"
            time.sleep(0.05)

    def press(self, key: str, session: str | None = None) -> None:
        """Press a key that has the same name and code, such as ArrowRight or Tab."""
        codes = {"Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}
        event = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.send("Input.dispatchKeyEvent", {"type": "keyDown", **event}, session or self.session)
        self.send("Input.dispatchKeyEvent", {"type": "keyUp", **event}, session or self.session)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen, or the whole page."""
        shot = self.send("Page.captureScreenshot", {"captureBeyondViewport": whole}, self.session)
        path.write_bytes(base64.b64decode(shot["data"]))
