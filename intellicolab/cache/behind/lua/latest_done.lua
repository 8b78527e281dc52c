-- Removes entries that are in the database, unless a newer value came meanwhile.
-- KEYS[1] waiting values   KEYS[2] their keys by when they are due   KEYS[3] failed tries   KEYS[4] the namespace's state
-- ARGV key and stamp, in turn
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
for i = 1, #ARGV, 2 do
  local waiting = redis.call('HGET', KEYS[1], ARGV[i])
  redis.call('HDEL', KEYS[3], ARGV[i])
  if waiting and string.sub(waiting, 1, #ARGV[i + 1] + 1) == ARGV[i + 1] .. ':' then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
  elseif waiting then
    redis.call('ZADD', KEYS[2], 'XX', now, ARGV[i])
  end
end
redis.call('HSET', KEYS[4], 'last_flush', now)
redis.call('HINCRBY', KEYS[4], 'flushed', #ARGV / 2)
