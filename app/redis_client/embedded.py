"""The embedded default: fakeredis, whose Lua is made as strict as Redis's own.

All scripts of fakeredis run in one Lua state. Left as it is, a name that nobody has defined is nil, a global
stays for every later script, an error of a Redis command names no line, and an endless loop freezes the
process.
"""

from typing import Any

from ..settings import SettingError

MAX_KEPT_SCRIPTS = 64
SCRIPTS_A_COLLECTION = 100  # runs between two collections of Lua's garbage
MAX_SCRIPT_SECONDS = 5.0  # of CPU; a real Redis lets other calls be answered with BUSY from then on

_STRICT = """
local max_seconds = tonumber(ARGV[1])
local try, keys, started = redis.pcall, nil, nil

redis.call = function(...)
  local reply = try(...)
  if type(reply) == "table" and reply.err then
    error(tostring(reply.err), 2)
  end
  return reply
end

-- Each script has a KEYS of its own.
debug.sethook(function()
  if KEYS ~= keys then
    keys, started = KEYS, os.clock()
  elseif os.clock() - started > max_seconds then
    error("the script has run for more than " .. max_seconds .. " s: does a loop never end?", 2)
  end
end, "", 1000000)

setmetatable(_G, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function(_, name)
    error("Script attempted to create global variable '" .. tostring(name) .. "'", 2)
  end,
})
"""
# `try_json` is Python: an exception that leaves it would be raised in the place of every later error of Lua.
_STRICT_JSON = """
function(try_json)
  for _, name in ipairs({ "decode", "encode" }) do
    local convert = cjson[name]
    cjson[name] = function(value)
      local is_good, result = try_json(convert, value)
      if not is_good then
        error(name .. ": " .. result, 2)
      end
      return result
    end
  end
end
"""
# Under a name of its own: the lines in a stack trace are those of the script that failed.
_LOAD_STRICT = f'loadstring([==[{_STRICT}]==], "=embedded")()'


def connect_embedded(max_script_seconds: float = MAX_SCRIPT_SECONDS) -> Any:
    """A client with a Redis of its own, in this process. Raises SettingError if fakeredis is missing."""
    # Imported here: with a real Redis the process needs neither it nor Lua.
    try:
        import fakeredis
    except ModuleNotFoundError:
        hint = "pip install 'record-presence[embedded]', or set it"
        raise SettingError(f"REDIS_URL: is not set, and the embedded Redis is missing: {hint}") from None
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    make_strict(client, max_script_seconds)
    return client


def make_strict(client: Any, max_script_seconds: float = MAX_SCRIPT_SECONDS) -> None:
    """Of a FakeRedis, and of all others of the same FakeServer. May be called only once for a server."""
    client.eval(_LOAD_STRICT, 0, max_script_seconds)
    server = client.connection_pool.connection_kwargs["server"]
    runtime = getattr(server, "_lua_runtime", None)
    if runtime is not None:
        runtime.eval(_STRICT_JSON)(_try_json)
        server._lua_runtime = runtime if isinstance(runtime, CompiledOnce) else CompiledOnce(runtime)


class CompiledOnce:
    """A Lua state of fakeredis's that compiles each script once, not at each call.

    Nor does it collect all garbage after each call, as fakeredis asks it to: the two take most of a
    heartbeat's time. Lua itself collects it in small steps.
    """

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._compiled: dict[bytes | str, Any] = {}
        self._runs = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def execute(self, code: bytes | str) -> Any:
        """Run a script, and return what it returns."""
        if code == "collectgarbage()":
            self._runs += 1
            if self._runs % SCRIPTS_A_COLLECTION:
                return None
        compiled = self._compiled.get(code)
        if compiled is None:
            if len(self._compiled) >= MAX_KEPT_SCRIPTS:
                self._compiled.clear()
            compiled = self._compiled[code] = self._runtime.compile(code)
        return compiled()


def _try_json(convert: Any, value: Any) -> tuple[bool, Any]:
    try:
        return True, convert(value)
    except Exception as error:
        return False, str(error).encode()
