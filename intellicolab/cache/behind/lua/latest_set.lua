-- Puts a value where the flusher will find it.
-- KEYS[1] waiting values   KEYS[2] their keys by when they are due   KEYS[3] the last stamp of the namespace
-- ARGV[1] key   ARGV[2] value, as JSON   ARGV[3] 'last', or 'max': the greater number stays
-- ARGV[4] how many entries may wait
-- ARGV[5] when the caller sent this, in µs by this server's clock as the caller knows it
-- ARGV[6] a stamp that the caller has given to a row itself
-- Returns {'ok' | 'late' | 'full', now in µs, entries}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local text = string.format('%.0f', now)
if math.abs(now - ARGV[5]) > 1000000 then
  -- It lay in a socket while we stood still: the caller has given up and written newer things elsewhere.
  return {'late', text, 0}
end
local waiting = redis.call('HGET', KEYS[1], ARGV[1])
local entries = redis.call('ZCARD', KEYS[2])
if not waiting and entries >= tonumber(ARGV[4]) then
  return {'full', text, entries}
end
if waiting and ARGV[3] == 'max' then
  local value = string.sub(waiting, string.find(waiting, ':', 1, true) + 1)
  if tonumber(value) >= tonumber(ARGV[2]) then
    return {'ok', text, entries}
  end
end
local last = math.max(tonumber(redis.call('GET', KEYS[3]) or 0), tonumber(ARGV[6]))
local stamp = string.format('%.0f', math.max(now, last + 1))
redis.call('SET', KEYS[3], stamp)
redis.call('HSET', KEYS[1], ARGV[1], stamp .. ':' .. ARGV[2])
redis.call('ZADD', KEYS[2], 'NX', text, ARGV[1])
return {'ok', text, entries}
