#!lua flags=allow-oom
-- Has a job end that has not: one that waits is let through to a worker, which sees that it is cancelled.
-- Runs on a server that is out of memory, too: jobs that end give memory back.
-- KEYS[1] the job's record
-- KEYS[2] jobs to be cancelled
-- KEYS[3] the queue's scheduled jobs
-- KEYS[4] its jobs that are tried again
-- KEYS[5] the stream
-- KEYS[6] the queue's bell
-- KEYS[7] unique jobs: digest → id
-- ARGV[1] the job
-- ARGV[2] its priority
-- ARGV[3] the errors that it ends with, as JSON
-- ARGV[4] the digest by which it is unique, or ''
-- Returns the state that it was in, or '' if there is none.
local state = redis.call('HGET', KEYS[1], 's') or ''
if state == 'running' then
  redis.call('SADD', KEYS[2], ARGV[1])
elseif state == 'ready' or state == 'held' then
  redis.call('HSET', KEYS[1], 's', 'cancelled', 'e', ARGV[3])
  -- It will not run, so it must not stand in the place of one that is enqueued before a worker has seen that.
  if ARGV[4] ~= '' and redis.call('HGET', KEYS[7], ARGV[4]) == ARGV[1] then
    redis.call('HDEL', KEYS[7], ARGV[4])
  end
  local member = ARGV[1] .. ':' .. ARGV[2]
  if redis.call('ZREM', KEYS[3], member) + redis.call('ZREM', KEYS[4], member) > 0 or state == 'held' then
    redis.call('XADD', KEYS[5], '*', 'j', ARGV[1])
    if redis.call('LLEN', KEYS[6]) == 0 then
      redis.call('LPUSH', KEYS[6], 1)
    end
  end
elseif state == 'done' or state == 'failed' then
  redis.call('SREM', KEYS[2], ARGV[1]) -- asked while it was in the outbox, and nobody is left to take that back
end
return state
