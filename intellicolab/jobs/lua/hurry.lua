-- Has a job that waits for its time, or for its next try, run now.
-- KEYS[1] the queue's scheduled jobs
-- KEYS[2] its jobs that are tried again
-- KEYS[3] the stream
-- KEYS[4] the queue's bell
-- ARGV[1] the job
-- ARGV[2] its priority
-- Returns whether it waited
local member = ARGV[1] .. ':' .. ARGV[2]
if redis.call('ZREM', KEYS[1], member) + redis.call('ZREM', KEYS[2], member) == 0 then
  return 0
end
redis.call('XADD', KEYS[3], '*', 'j', ARGV[1])
if redis.call('LLEN', KEYS[4]) == 0 then
  redis.call('LPUSH', KEYS[4], 1)
end
return 1
