-- Reads the entries that are due, the oldest first; they stay until `latest_done` says that they are in the database.
-- KEYS[1] waiting values   KEYS[2] their keys by when they are due
-- ARGV[1] how many   ARGV[2] '1' for those that are not due yet, too
-- Returns a flat list of key and 'stamp:value'.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2] == '1' and '+inf' or now, 'LIMIT', 0, ARGV[1])
local found = {}
for _, key in ipairs(due) do
  local waiting = redis.call('HGET', KEYS[1], key)
  if waiting then
    table.insert(found, key)
    table.insert(found, waiting)
  else
    redis.call('ZREM', KEYS[2], key)
  end
end
return found
