-- Removes a batch that is in the database.
-- KEYS[1] sealed batches by when they are due   KEYS[2] their contents by id   KEYS[3] their amounts by 'id|key'
-- KEYS[4] failed tries   KEYS[5] the namespace's state
-- ARGV[1] the batch's id
local contents = redis.call('HGET', KEYS[2], ARGV[1])
if contents then
  for key, _ in pairs(cjson.decode(contents)) do
    redis.call('HDEL', KEYS[3], ARGV[1] .. '|' .. key)
    redis.call('HINCRBY', KEYS[5], 'flushed', 1)
  end
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
local time = redis.call('TIME')
redis.call('HSET', KEYS[5], 'last_flush', string.format('%.0f', time[1] * 1000000 + time[2]))
