-- Reads the stamp of a cache tag, making one where there is none, or invalidates the tag by giving it a new one.
-- A stamp is Redis TIME in microseconds, so one that was evicted does not come again.
-- KEYS[1] the tag
-- ARGV[1] seconds that it is kept
-- ARGV[2] 1 to invalidate, 0 to read
-- Returns the stamp.
local stamp = redis.call('GET', KEYS[1])
if stamp and ARGV[2] == '0' then
  return stamp
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
stamp = string.format('%.0f', math.max(now, tonumber(stamp or 0) + 1))
redis.call('SET', KEYS[1], stamp, 'EX', ARGV[1])
return stamp
