-- Gives keys that the database refuses a batch of their own each, so that the others need not wait for them.
-- KEYS[1] sealed batches by when they are due   KEYS[2] their contents by id   KEYS[3] their amounts by 'id|key'
-- KEYS[4] the namespace's state
-- ARGV[1] the batch's id   ARGV[2] who took it   ARGV[3…] a key and the id of its new batch, in turn
local contents = redis.call('HGET', KEYS[2], ARGV[1])
if not contents or redis.call('HGET', KEYS[4], 'taker') ~= ARGV[2] then
  return -- another has it now, and may have applied it: the parts would be applied again, under their new ids
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
local amounts = cjson.decode(contents)
for i = 3, #ARGV, 2 do
  local key, id = ARGV[i], ARGV[i + 1]
  if amounts[key] then
    redis.call('HSET', KEYS[2], id, cjson.encode({[key] = amounts[key]}))
    redis.call('HSET', KEYS[3], id .. '|' .. key, amounts[key])
    redis.call('ZADD', KEYS[1], now, id)
    redis.call('HDEL', KEYS[3], ARGV[1] .. '|' .. key)
    amounts[key] = nil
  end
end
if next(amounts) then
  redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(amounts))
else
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
