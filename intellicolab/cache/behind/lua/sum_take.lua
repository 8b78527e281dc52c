-- Reads the sealed batches that are due, the oldest first.
-- KEYS[1] sealed batches by when they are due   KEYS[2] their contents by id
-- ARGV[1] how many   ARGV[2] '1' for those that are not due yet, too
-- Returns a flat list of id and contents, as JSON.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2] == '1' and '+inf' or now, 'LIMIT', 0, ARGV[1])) do
  table.insert(found, id)
  table.insert(found, redis.call('HGET', KEYS[2], id))
end
return found
