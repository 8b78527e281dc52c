-- Reads a lock without touching it.
-- KEYS[1] the lock
-- Returns {what it holds, milliseconds until its lease ends, now in µs}, or an empty list when it is free.
local held = redis.call('GET', KEYS[1])
if not held then
  return {}
end
local time = redis.call('TIME')
return {held, redis.call('PTTL', KEYS[1]), string.format('%.0f', time[1] * 1000000 + time[2])}
