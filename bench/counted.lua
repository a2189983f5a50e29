-- What wrk says at its end, in one line of JSON; with `count_statuses` also how often each status was answered, which
-- costs wrk more for each answer.

local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

local function count_statuses()
   function response(status)
      local name = "status_" .. status
      _G[name] = (_G[name] or 0) + 1
   end
end

local function statuses()
   local counts = {}
   for status = 100, 599 do
      local count = 0
      for _, thread in ipairs(threads) do
         count = count + (thread:get("status_" .. status) or 0)
      end
      if count > 0 then
         table.insert(counts, string.format('"%d":%d', status, count))
      end
   end
   return table.concat(counts, ",")
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests":%d,"seconds":%f,"refused":%d,"broken":%d,"wait_seconds_max":%f,'
         .. '"wait_seconds_p99":%f,"statuses":{%s}}\n',
      summary.requests, summary.duration / 1e6, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout, latency.max / 1e6, latency:percentile(99) / 1e6,
      statuses()
   ))
end

return count_statuses
