-- The time of the server that keeps a value.
-- KEYS[1] the value, which is not looked at: it says which node to ask
-- Returns the Unix time in microseconds, as text.
local time = redis.call('TIME')
return string.format('%.0f', time[1] * 1000000 + time[2])
