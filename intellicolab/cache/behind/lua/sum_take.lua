-- Reads the sealed batches that are due, the oldest first, and remembers who did: only the last may split or bury them.
-- KEYS[1] sealed batches by when they are due   KEYS[2] their contents by id   KEYS[3] the namespace's state
-- ARGV[1] how many   ARGV[2] '1' for those that are not due yet, too   ARGV[3] who takes them
-- Returns a flat list of id and contents, as JSON.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
local found = {}
-- A server without memory lets a script write on that has begun by removing: what frees memory must go on.
redis.call('HDEL', KEYS[3], 'taker')
redis.call('HSET', KEYS[3], 'taker', ARGV[3])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2] == '1' and '+inf' or now, 'LIMIT', 0, ARGV[1])) do
  table.insert(found, id)
  table.insert(found, redis.call('HGET', KEYS[2], id))
end
return found
