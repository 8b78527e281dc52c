-- Notes that the database refused one entry by itself: it is tried again after a growing pause, and in the end buried.
-- KEYS[1] waiting values   KEYS[2] their keys by when they are due   KEYS[3] failed tries
-- KEYS[4] the dead   KEYS[5] the namespace's state
-- ARGV[1] key   ARGV[2] stamp   ARGV[3] reason
-- ARGV[4] after how many tries it is buried   ARGV[5] how many dead are kept
-- Returns the number of tries, or -1 when it was buried.
local waiting = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HINCRBY', KEYS[5], 'failures', 1)
if not waiting or string.sub(waiting, 1, #ARGV[2] + 1) ~= ARGV[2] .. ':' then
  return 0
end
local tries = redis.call('HINCRBY', KEYS[3], ARGV[1], 1)
if tries >= tonumber(ARGV[4]) and redis.call('HLEN', KEYS[4]) < tonumber(ARGV[5]) then
  local value = string.sub(waiting, #ARGV[2] + 2)
  redis.call('HSET', KEYS[4], ARGV[1], cjson.encode({reason = ARGV[3], value = value, stamp = ARGV[2]}))
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HDEL', KEYS[3], ARGV[1])
  return -1
end
local time = redis.call('TIME')
local pause = math.min(2 ^ (tries - 1), 3600)
redis.call('ZADD', KEYS[2], string.format('%.0f', (time[1] + pause) * 1000000 + time[2]), ARGV[1])
return tries
