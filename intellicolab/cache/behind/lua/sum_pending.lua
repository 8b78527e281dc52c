-- What is not yet removed from the buffer for some keys, with the ids by which the database knows what it has applied.
-- KEYS[1] amounts of the open batch   KEYS[2] its id   KEYS[3] sealed batches by when they are due
-- KEYS[4] their amounts by 'id|key'
-- ARGV the keys
-- Returns a list of batches, each {id, amount of the first key, of the second, …}.
local batches = {}
local open = redis.call('GET', KEYS[2])
if open then
  local batch = {open}
  for _, key in ipairs(ARGV) do
    table.insert(batch, redis.call('HGET', KEYS[1], key) or '0')
  end
  table.insert(batches, batch)
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local batch, any = {id}, false
  for _, key in ipairs(ARGV) do
    local amount = redis.call('HGET', KEYS[4], id .. '|' .. key)
    any = any or amount
    table.insert(batch, amount or '0')
  end
  if any then
    table.insert(batches, batch)
  end
end
return batches
