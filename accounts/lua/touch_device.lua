-- Notes that a session was used, at most once in a while however many processes see it, and puts it on the list.
-- KEYS[1] the Set of the person's sessions
-- KEYS[2] the Hash of this session's device
-- ARGV[1] the session, as it stands in the Set
-- ARGV[2] the browser
-- ARGV[3] the address
-- ARGV[4] what is left of the session, in milliseconds
-- ARGV[5] the least number of seconds between two notes
-- Returns how many sessions are on the list, or 0 when the last note is too fresh for another.
local now = tonumber(redis.call('TIME')[1])
local seen = tonumber(redis.call('HGET', KEYS[2], 'seen') or 0)
if now - seen < tonumber(ARGV[5]) and redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[2], 'browser', ARGV[2], 'address', ARGV[3], 'seen', now)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('SADD', KEYS[1], ARGV[1])
if redis.call('PEXPIRE', KEYS[1], ARGV[4], 'NX') == 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[4], 'GT')
end
return redis.call('SCARD', KEYS[1])
