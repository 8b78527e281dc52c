-- Count one request in a fixed window that begins with the first request and ends when the key expires.
-- KEYS[1]  the window's counter
-- ARGV[1]  limit: requests that one window admits
-- ARGV[2]  length of the window in milliseconds
-- Returns {1 admitted or 0 refused, requests left, milliseconds until the window ends}.
--
-- The clock is the server's own: the key's expiry is the window. Count and expiry are written by one SET, so there is
-- no moment at which a counter exists without an end, and one that lost its end (PERSIST by hand) gets a new one.
-- A refusal writes nothing: it can't push the end of the window further away.
local limit = tonumber(ARGV[1])
local window = tonumber(ARGV[2])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  if limit < 1 then
    return {0, 0, window}
  end
  redis.call('SET', KEYS[1], 1, 'PX', window)
  return {1, limit - 1, window}
end
-- PTTL rounds: 0 is less than a millisecond, not never.
left = math.max(left, 1)
local count = tonumber(redis.call('GET', KEYS[1]))
if count >= limit then
  return {0, 0, left}
end
redis.call('INCR', KEYS[1])
return {1, limit - count - 1, left}
