-- Notes how far a running job is.
-- KEYS[1] the job's record
-- ARGV[1] the progress as JSON
if redis.call('HGET', KEYS[1], 's') == 'running' then
  redis.call('HSET', KEYS[1], 'p', ARGV[1])
end
