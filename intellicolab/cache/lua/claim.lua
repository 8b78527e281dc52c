-- Claims the flight of a cached value: who holds it may load the value and store it.
-- A claim with other tag stamps takes the flight over: its loader began before a tag was invalidated.
-- KEYS[1] the cached value
-- KEYS[2] its flight
-- KEYS[3] its wake list
-- ARGV[1] the claimant's token
-- ARGV[2] the lease, in milliseconds
-- ARGV[3] header of the value that the claimant saw and holds for too old; empty when it saw none, or an empty one
-- ARGV[4] stamps of the value's tags, as the claimant read them
-- ARGV[5] seconds that wake-ups are kept
-- Returns {'value'} when another value is there by now, {'busy', token} when somebody else holds the flight,
-- {'writing'} when a writer does, else {'ours'}.
local value = redis.call('GET', KEYS[1])
if value and value ~= '' and (ARGV[3] == '' or string.sub(value, 1, #ARGV[3]) ~= ARGV[3]) then
  return {'value'}
end
local flight = redis.call('HMGET', KEYS[2], 'token', 'stamps', 'writer', 'waiters')
if flight[1] then
  if flight[3] then
    return {'writing'}
  end
  if flight[2] == ARGV[4] then
    return {'busy', flight[1]}
  end
  for _ = 1, tonumber(flight[4] or 0) do
    redis.call('RPUSH', KEYS[3], 1)
  end
  redis.call('EXPIRE', KEYS[3], ARGV[5])
  redis.call('DEL', KEYS[2])
end
redis.call('HSET', KEYS[2], 'token', ARGV[1], 'stamps', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {'ours'}
