"""The processes of a server."""

import hashlib
import os
import tempfile
from pathlib import Path


def is_first_of_its_siblings(application: str) -> bool:
    """Whether no other process of this server has asked this for the application, named by its folder.

    The processes of a server have one parent, whichever server it is, and whether or not it had loaded the
    application before it started them. They agree by a file of 0 bytes in the temporary folder, which
    is named for the parent and when it was started; where none can be written, each is the first.
    """
    parent = os.getppid()
    name = f"{application} {parent} {_started_at(parent)}"
    digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    try:
        # tempfile looks for a folder that can be written, and raises if there is none
        path = Path(tempfile.gettempdir()) / f"record-presence-{os.getuid()}-{digest}"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def _started_at(pid: int) -> str:
    """When a process was started, in ticks since the machine was; empty where /proc is missing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
