"""`python -m tests.hosts.install` installs the npm packages of the applications in JavaScript.

It ends with 1, and a line for each thing that can't be had, where one of the hosts that TEST_HOSTS names
can't be tried.
"""

import subprocess
import sys

from tests.client.node import install_packages
from tests.e2e.chromium import CHROMIUM, MISSING
from tests.hosts.conftest import chosen_hosts
from tests.hosts.hosts import JAVASCRIPT, NEXT, application_of


def missing() -> list[str]:
    """What can't be had, a line each."""
    lines = [] if CHROMIUM else [MISSING]
    for folder in (JAVASCRIPT, NEXT):
        try:
            install_packages(folder)
        except (AssertionError, OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error).encode()
            lines.append(f"The npm packages of {folder.name}: {said.decode(errors='replace').strip()[-300:]}")
    applications = {application_of(host).name: application_of(host) for host in chosen_hosts()}
    return lines + [
        f"The application in {name} can't be started: {application.missing}"
        for name, application in applications.items()
        if not application.is_there()
    ]


if __name__ == "__main__":
    sys.exit("\n".join(missing()) or None)
