"""`python -m tests.hosts.install` installs the npm packages of the applications in JavaScript."""

from tests.client.node import install_packages
from tests.hosts.hosts import JAVASCRIPT

if __name__ == "__main__":
    install_packages(JAVASCRIPT)
