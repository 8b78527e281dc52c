-- Has a job that was given up begin anew.
-- KEYS[1] the job's record
-- KEYS[2] dead jobs, by when they were given up (ms)
-- KEYS[3] the stream
-- KEYS[4] the queue's bell
-- KEYS[5] unique jobs: digest → id
-- KEYS[6] where the job is part of a batch, the record of the batch's last job
-- ARGV[1] the job
-- ARGV[2] its unique digest or ''
-- Returns 'ok', 'gone' (it is not dead any more) or 'unique' (another one waits in its place)
if redis.call('ZSCORE', KEYS[2], ARGV[1]) == false or redis.call('HGET', KEYS[1], 's') ~= 'failed' then
  return 'gone'
end
if ARGV[2] ~= '' then
  local other = redis.call('HGET', KEYS[5], ARGV[2])
  if other and other ~= ARGV[1] then
    return 'unique'
  end
  redis.call('HSET', KEYS[5], ARGV[2], ARGV[1])
end
redis.call('ZREM', KEYS[2], ARGV[1])
-- Its death was counted, and its next end is counted again: meanwhile it is one of those that the last job waits for.
if KEYS[6] and redis.call('HGET', KEYS[6], 's') == 'held' then
  redis.call('HINCRBY', KEYS[6], 'left', 1)
  redis.call('HINCRBY', KEYS[6], 'lost', -1)
end
redis.call('PERSIST', KEYS[1])
redis.call('HDEL', KEYS[1], 'w', 'e', 'b', 'l', 'f', 'p')
redis.call('HSET', KEYS[1], 's', 'ready')
redis.call('XADD', KEYS[3], '*', 'j', ARGV[1])
if redis.call('LLEN', KEYS[4]) == 0 then
  redis.call('LPUSH', KEYS[4], 1)
end
return 'ok'
