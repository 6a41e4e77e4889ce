"""What a Redis or Valkey server runs for us, and what an answer to it looks like.

Owns the scripts and the shapes of their answers. Knows no key and no rule.

A server may throw keys away one by one (`maxmemory-policy`): a log of which a part is missing counts as empty, and is
begun anew with the next row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Each answers with the server's time first: it costs no round trip of its own.
LOOK = """
local now = redis.call('TIME')
local page = redis.call('HMGET', KEYS[1], 'version', 'line', 'text')
return {now[1], now[2], page[1], page[2], page[3]}
"""
# The keys of a log are its number, texts, times and numbers, from `first` on.
_WHOLE = """
local function whole(first)
  local rows = redis.call('HLEN', KEYS[first + 1])
  return redis.call('ZCARD', KEYS[first + 2]) == rows and redis.call('ZCARD', KEYS[first + 3]) == rows
end
"""
_ADD = (
    _WHOLE
    + """
local function add(first, at, text, most, kept)
  if not whole(first) then redis.call('DEL', KEYS[first + 1], KEYS[first + 2], KEYS[first + 3]) end
  local number = redis.call('INCR', KEYS[first])
  local last = number == 1 and redis.call('ZREVRANGE', KEYS[first + 3], 0, 0)[1]
  if last then
    number = tonumber(last) + 1
    redis.call('SET', KEYS[first], number)
  end
  local name = string.format('%016d', number)
  redis.call('HSET', KEYS[first + 1], name, text)
  redis.call('ZADD', KEYS[first + 2], at, name)
  redis.call('ZADD', KEYS[first + 3], number, name)
  local over = redis.call('ZCARD', KEYS[first + 3]) - most
  if over > 0 then
    local old = redis.call('ZRANGE', KEYS[first + 3], 0, over - 1)
    redis.call('HDEL', KEYS[first + 1], unpack(old))
    redis.call('ZREM', KEYS[first + 2], unpack(old))
    redis.call('ZREM', KEYS[first + 3], unpack(old))
  end
  for place = first, first + 3 do redis.call('EXPIRE', KEYS[place], kept) end
end
"""
)
# Page; expected version ('' for none), new version (the same for a page that stays), line, text, seconds kept; then the
# keys of a log, how many rows it keeps, for how many seconds, and each row's time and text, if there are any.
WRITE = (
    _ADD
    + """
local now = redis.call('TIME')
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= ARGV[1] then
  local page = redis.call('HMGET', KEYS[1], 'line', 'text')
  return {now[1], now[2], 0, version, page[1], page[2]}
end
if ARGV[2] ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'version', ARGV[2], 'line', ARGV[3], 'text', ARGV[4])
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
for place = 8, #ARGV, 2 do add(2, ARGV[place], ARGV[place + 1], tonumber(ARGV[6]), ARGV[7]) end
return {now[1], now[2], 1}
"""
)
APPEND = (
    _ADD
    + """
local now = redis.call('TIME')
add(1, ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4])
return {now[1], now[2]}
"""
)
SET_ASIDE = """
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return {now[1], now[2]}
"""
RECENT = (
    _WHOLE
    + """
local now = redis.call('TIME')
local names = whole(1) and redis.call('ZREVRANGE', KEYS[4], 0, ARGV[1] - 1) or {}
local found = {now[1], now[2]}
for _, name in ipairs(names) do
  found[#found + 1] = redis.call('ZSCORE', KEYS[3], name)
  found[#found + 1] = redis.call('HGET', KEYS[2], name)
end
return found
"""
)
# Page key, then the log's: the page, and the oldest rows of before a moment.
OLDEST = (
    _WHOLE
    + """
local now = redis.call('TIME')
local page = redis.call('HMGET', KEYS[1], 'version', 'line', 'text')
local names = whole(2) and redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2]) or {}
local found = {now[1], now[2], page[1], page[2], page[3]}
for _, name in ipairs(names) do
  found[#found + 1] = name
  found[#found + 1] = redis.call('HGET', KEYS[3], name)
end
return found
"""
)
# The new page takes the place of the old one and of these rows, if all of them are as they were.
FOLD = """
local now = redis.call('TIME')
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= ARGV[1] then return {now[1], now[2], 0} end
for place = 6, #ARGV do
  if redis.call('HEXISTS', KEYS[3], ARGV[place]) == 0 then return {now[1], now[2], 0} end
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'line', ARGV[3], 'text', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
for place = 6, #ARGV do
  redis.call('HDEL', KEYS[3], ARGV[place])
  redis.call('ZREM', KEYS[4], ARGV[place])
  redis.call('ZREM', KEYS[5], ARGV[place])
end
return {now[1], now[2], 1}
"""

# What stands behind the two texts of the server's time: a text is `t`, nothing `-`, a number `n`.
_ANSWERS = {
    LOOK: r"[t-]{3}",
    WRITE: r"n(t[t-]{2})?",
    APPEND: "",
    SET_ASIDE: "",
    RECENT: r"(tt)*",
    OLDEST: r"[t-]{3}(tt)*",
    FOLD: r"n",
}
# So many arguments has a page that is written without rows.
_WITHOUT_ROWS = 5
_KINDS = {bytes: "t", int: "n", type(None): "-"}


def is_answer(script: str, said: object) -> bool:
    """Tell whether a server has said what a script ends with: who is asked may be no such server at all."""
    if not isinstance(said, list):
        return False
    kinds = "".join(_KINDS.get(type(one), "?") for one in said)
    return re.fullmatch(f"tt{_ANSWERS[script]}", kinds) is not None and said[0].isdigit() and said[1].isdigit()


def may_be_repeated(script: str, arguments: Sequence[object]) -> bool:
    """Tell whether a server that has run a script may be asked to once more.

    A page has another version by then, so it is not written twice. A row would be, where it comes without a page, or
    with one that stays.
    """
    return script != APPEND and (script != WRITE or arguments[0] != arguments[1] or len(arguments) <= _WITHOUT_ROWS)
