-- Takes a lock that is free, or that was handed over to the caller; otherwise says who holds it, and queues the caller.
-- KEYS[1] the lock   KEYS[2] its fencing counter   KEYS[3] its wake list   KEYS[4] its waiters
-- ARGV[1] the caller's token, 32 characters
-- ARGV[2] the lease, in milliseconds
-- ARGV[3] who the caller is, for those who look
-- ARGV[4] what the caller got from the wake list, or ''
-- ARGV[5] how long the caller will wait if it gets nothing, in milliseconds; 0 does not queue it
-- ARGV[6] '1' when the caller has been queued before, else '0'
-- Returns {fencing number} when taken, else {'', milliseconds until the lease ends, what the lock holds, now in µs}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[4] then
  local wait = tonumber(ARGV[5])
  if wait > 0 then
    -- The score is when a waiter that is still alive will have come back: later, nobody counts on it.
    redis.call('ZADD', KEYS[4], now / 1000 + wait + 1000, ARGV[1])
    redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now / 1000)
    local last = redis.call('ZRANGE', KEYS[4], -1, -1, 'WITHSCORES')
    redis.call('PEXPIREAT', KEYS[4], math.ceil(tonumber(last[2])))
  else
    redis.call('ZREM', KEYS[4], ARGV[1])
  end
  return {'', redis.call('PTTL', KEYS[1]), held, string.format('%.0f', now)}
end
-- Counter and clock together: a clock that was set back cannot lower the number, nor can a failover that lost the counter.
local number = math.max((tonumber(redis.call('GET', KEYS[2])) or 0) + 1, now)
local fence = string.format('%.0f', number)
redis.call('SET', KEYS[2], fence)
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. fence .. ':' .. string.format('%.0f', now) .. ':' .. ARGV[3], 'PX', ARGV[2])
if ARGV[6] == '1' then
  redis.call('DEL', KEYS[3])
  redis.call('ZREM', KEYS[4], ARGV[1])
end
return {fence}
