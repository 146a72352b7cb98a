"""Commands for which nothing can be written, as in a container with a read-only root."""

import subprocess
from functools import cache
from pathlib import Path

MISSING = "a mount namespace can't be had here"
# Every place in which Python looks for a temporary folder, whichever mount it is on.
_REMOUNT = """
set -e
writable=$1
shift
mount --make-rprivate /
[ -z "$writable" ] || mount -t tmpfs none "$writable"
for place in / /tmp /var/tmp /usr/tmp "$PWD"; do
  [ ! -d "$place" ] || mount -o remount,bind,ro "$(findmnt --noheadings --output TARGET --target "$place")"
done
exec "$@"
"""


def read_only(command: list[str], writable: Path | None = None) -> list[str]:
    """The command, in which `writable` is the only folder that can be written: an empty tmpfs.

    It is one process, so that signals reach the command.
    """
    return ["unshare", "--mount", "sh", "-c", _REMOUNT, "sh", str(writable or ""), *command]


@cache
def can_be_had() -> bool:
    """Whether this machine lets us make one."""
    try:
        return not subprocess.run(read_only(["true"]), capture_output=True).returncode
    except OSError:
        return False
