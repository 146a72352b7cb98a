"""The Lua commands: composed, checked and run."""

from .compose import Script, compose, find_lua_directory
from .header import STATUS_WORDS
from .runner import Scripts

__all__ = ["STATUS_WORDS", "Script", "Scripts", "compose", "find_lua_directory"]
