"""The recipes as their README shows them.

`python -m tests.hosts.documentation` puts the files of `app/recipes` into it, after a change to one.
"""

import re

from tests.hosts.hosts import RECIPES

README = RECIPES / "README.md"
# A line that names the file, and the block below it.
_BLOCK = re.compile(
    r"^([^\n]*?`([a-z-]+/[\w./-]+\.[a-z]+)`[^\n]*\n```\w+\n)(.*?)^```$", re.MULTILINE | re.DOTALL
)


def shown() -> dict[str, str]:
    """Each file that the README shows, as it shows it."""
    return {match[2]: match[3] for match in _BLOCK.finditer(README.read_text("utf-8"))}


def with_files() -> str:
    """The README with each file as it is."""
    return _BLOCK.sub(
        lambda match: f"{match[1]}{(RECIPES / match[2]).read_text('utf-8')}```", README.read_text("utf-8")
    )


if __name__ == "__main__":
    README.write_text(with_files(), "utf-8")
