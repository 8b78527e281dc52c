-- Notes that the database refused a batch of one key: it is tried again after a growing pause, and in the end buried.
-- KEYS[1] sealed batches by when they are due   KEYS[2] their contents by id   KEYS[3] their amounts by 'id|key'
-- KEYS[4] failed tries   KEYS[5] the dead   KEYS[6] the namespace's state
-- ARGV[1] the batch's id   ARGV[2] its key   ARGV[3] reason
-- ARGV[4] after how many tries it is buried   ARGV[5] how many dead are kept   ARGV[6] who took the batch
-- Returns the number of tries, -1 when it was buried, or 0 when another has it now.
redis.call('HINCRBY', KEYS[6], 'failures', 1)
local contents = redis.call('HGET', KEYS[2], ARGV[1])
if not contents or redis.call('HGET', KEYS[6], 'taker') ~= ARGV[6] then
  return 0
end
local tries = redis.call('HINCRBY', KEYS[4], ARGV[1], 1)
if tries >= tonumber(ARGV[4]) and redis.call('HLEN', KEYS[5]) < tonumber(ARGV[5]) then
  local value = cjson.decode(contents)[ARGV[2]]
  redis.call('HSET', KEYS[5], ARGV[1], cjson.encode({reason = ARGV[3], value = value, key = ARGV[2]}))
  redis.call('HDEL', KEYS[3], ARGV[1] .. '|' .. ARGV[2])
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[4], ARGV[1])
  return -1
end
local time = redis.call('TIME')
local pause = math.min(2 ^ (tries - 1), 3600)
redis.call('ZADD', KEYS[1], string.format('%.0f', (time[1] + pause) * 1000000 + time[2]), ARGV[1])
return tries
