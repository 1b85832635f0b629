"""What happens to the files of a folder, as Linux' inotify tells it."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from pathlib import Path

CREATED, MODIFIED, MOVED_TO, IS_FOLDER = 0x100, 0x2, 0x80, 0x40000000
HEAD = struct.Struct("iIII")


class FolderEvents(threading.Thread):
    """Notes which files below some folders are created, written or renamed to, as long as it is entered.

    Attributes
    ----------
    written : set of Path
        Files that were created or changed under this name.
    renamed : set of Path
        Files that got this name when they were ready.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.written: set[Path] = set()
        self.renamed: set[Path] = set()
        self._library = ctypes.CDLL(None, use_errno=True)
        self._handle = self._library.inotify_init1(os.O_NONBLOCK)
        self._folders: dict[int, Path] = {}
        self._end = threading.Event()
        self._watch(folder)

    def run(self) -> None:
        """Take in events until the end."""
        while not self._end.is_set():
            if select.select([self._handle], [], [], 0.1)[0]:
                self._take(os.read(self._handle, 2**16))

    def __enter__(self) -> FolderEvents:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()
        os.close(self._handle)

    def _watch(self, folder: Path) -> None:
        number = self._library.inotify_add_watch(self._handle, os.fsencode(folder), CREATED | MODIFIED | MOVED_TO)
        if number < 0:
            raise OSError(ctypes.get_errno(), f"{folder}: cannot be watched")
        self._folders[number] = folder
        # A new folder may have been filled before it was watched.
        for path in folder.iterdir():
            if path.is_dir():
                self._watch(path)

    def _take(self, events: bytes) -> None:
        position = 0
        while position < len(events):
            number, kind, _, length = HEAD.unpack_from(events, position)
            name = events[position + HEAD.size : position + HEAD.size + length].rstrip(b"\0")
            position += HEAD.size + length
            path = self._folders[number] / os.fsdecode(name)
            if kind & IS_FOLDER:
                self._watch(path)
            elif kind & MOVED_TO:
                self.renamed.add(path)
            else:
                self.written.add(path)
