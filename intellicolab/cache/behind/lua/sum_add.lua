-- Adds amounts to the open batch, once for each operation; seals the batch when it is long enough, or when told to.
-- KEYS[1] amounts of the open batch   KEYS[2] its id   KEYS[3] sealed batches by when they are due
-- KEYS[4] their contents by id   KEYS[5] their amounts by 'id|key'   KEYS[6] operations by when they were done
-- ARGV[1] the operation's id, or ''   ARGV[2] the id of a batch that has to be opened
-- ARGV[3] how many keys a batch holds   ARGV[4] how many entries may wait   ARGV[5] '1' to seal
-- ARGV[6] seconds that an operation is remembered   ARGV[7…] key and amount, in turn
-- Returns {'ok' | 'again' | 'full', entries}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local text = string.format('%.0f', now)
local entries = redis.call('HLEN', KEYS[1]) + redis.call('HLEN', KEYS[5])
if #ARGV > 6 then
  if redis.call('ZSCORE', KEYS[6], ARGV[1]) then
    return {'again', entries}
  end
  if entries >= tonumber(ARGV[4]) then
    for i = 7, #ARGV, 2 do
      if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then
        return {'full', entries}
      end
    end
  end
  -- The first write is one that a server without memory refuses, before anything has changed.
  redis.call('SET', KEYS[2], ARGV[2], 'NX')
  for i = 7, #ARGV, 2 do
    redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
  end
  redis.call('ZADD', KEYS[6], text, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', string.format('%.0f', now - ARGV[6] * 1000000))
  redis.call('EXPIRE', KEYS[6], ARGV[6])
end
local fields = redis.call('HLEN', KEYS[1])
if fields >= tonumber(ARGV[3]) or (ARGV[5] == '1' and fields > 0) then
  local id = redis.call('GET', KEYS[2])
  redis.call('DEL', KEYS[2])  -- removing comes first: a server without memory lets the script write on then
  local all, amounts = redis.call('HGETALL', KEYS[1]), {}
  for i = 1, #all, 2 do
    amounts[all[i]] = all[i + 1]
    redis.call('HSET', KEYS[5], id .. '|' .. all[i], all[i + 1])
  end
  redis.call('HSET', KEYS[4], id, cjson.encode(amounts))
  redis.call('ZADD', KEYS[3], text, id)
  redis.call('DEL', KEYS[1])
end
return {'ok', entries}
