"""From a file to a script that may run."""

from pathlib import Path

from .compose import Script, compose
from .static_checks import check_statically
from .syntax import check_syntax


def load_script(path: Path) -> Script:
    """Composed and checked. Raises ScriptInvalid with file and line."""
    script = compose(path)
    check_syntax(script)
    check_statically(script)
    return script
