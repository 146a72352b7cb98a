-- What every Redis from 6.2 and fakeredis have in a script, and nothing else:
-- a name that is missing here is missing on one of them, or would be a global
-- of ours, which is refused.
std = "none"
read_globals = {
  "KEYS", "ARGV", "require",
  redis = { fields = { "call", "pcall", "error_reply", "status_reply" } },
  cjson = { fields = { "encode", "decode", "null" } },
  math = { fields = { "abs", "ceil", "floor", "fmod", "huge", "max", "min" } },
  string = { fields = {
    "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep", "sub", "upper",
  } },
  table = { fields = { "concat", "insert", "remove", "sort" } },
  "assert", "error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring", "type", "unpack",
}
max_line_length = 110

-- A command hands its keys and arguments to a library by name.
local library = { not_globals = { "KEYS", "ARGV" } }
files["lua/lib"] = library -- `luacheck --config lua/.luacheckrc lua`
files["lib"] = library -- an editor that finds this file by itself
