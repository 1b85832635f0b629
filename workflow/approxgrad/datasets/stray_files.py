"""Files that systems and programs leave among those of a person."""

from __future__ import annotations

HIDDEN = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r", "picasa.ini", "zbthumbnail.info"}
    | {"$recycle.bin", "system volume information", "lost+found", "__pycache__"}
)
"""What systems leave in folders, in lower case, besides names that begin with a dot."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder was not put there by a person."""
    return name.startswith((".", "~$")) or name.lower() in HIDDEN
