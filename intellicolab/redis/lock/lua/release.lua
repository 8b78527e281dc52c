-- Gives a lock back, or lets a waiter leave. With waiters the lock is not freed but kept for the one that is woken:
-- who comes by in that moment cannot overtake those who queue.
-- KEYS[1] the lock   KEYS[2] its wake list   KEYS[3] its waiters
-- ARGV[1] the caller's token
-- ARGV[2] how long the lock is kept for the one that is woken, in milliseconds
-- Returns 1 when the caller held the lock, else 0.
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, 32) == ARGV[1] then
  local time = redis.call('EXISTS', KEYS[3]) == 1 and redis.call('TIME')
  if not time or redis.call('ZCOUNT', KEYS[3], time[1] * 1000, '+inf') == 0 then
    redis.call('DEL', KEYS[1])
    return 1
  end
  local wake = 'wake:' .. ARGV[1]
  redis.call('SET', KEYS[1], wake, 'PX', ARGV[2])
  redis.call('DEL', KEYS[2])
  redis.call('RPUSH', KEYS[2], wake)
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  return 1
end
redis.call('ZREM', KEYS[3], ARGV[1])
if held and string.sub(held, 1, 5) == 'wake:' and redis.call('EXISTS', KEYS[2]) == 0 then
  -- Somebody took the wake token and has not come: perhaps the caller, which gave up in that moment.
  redis.call('RPUSH', KEYS[2], held)
  redis.call('PEXPIRE', KEYS[2], math.max(redis.call('PTTL', KEYS[1]), 1))
end
return 0
