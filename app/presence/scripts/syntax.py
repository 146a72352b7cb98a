"""Whether a composed script is Lua at all, before Redis is asked to run it."""

from functools import cache
from typing import Any

from ..errors import ScriptInvalid
from .compose import Script


def check_syntax(script: Script) -> None:
    """Raises ScriptInvalid with file and line. Where lupa is missing, Redis says so at the first call."""
    compiler = _compiler()
    if compiler is None:
        return
    try:
        compiler.compile(script.text.encode())
    except compiler.lua_error as error:
        message = error.args[0]
        text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
        raise ScriptInvalid(script.locate(text)) from None


class _Compiler:
    def __init__(self, lua: Any) -> None:
        self.lua_error = lua.LuaError
        self.compile = lua.LuaRuntime(encoding=None).compile


@cache
def _compiler() -> _Compiler | None:
    try:
        from lupa import lua51  # the Lua of Redis; part of the extra `embedded`
    except ImportError:
        return None
    return _Compiler(lua51)
