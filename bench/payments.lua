-- What wrk sends: payments between random accounts, each with an Idempotency-Key of its own, as clients send them.
-- Arguments: a seed, the banks, the accounts of each bank, an API key, how many to send at most (0: until the time is
-- up), whether to count statuses (0 or 1), how many milliseconds a connection rests before each payment, on average, and the
-- number of the bank that sends (0: any).

local count_statuses = require("counted")
local key = require("keys")

local HEAD = "POST /transaction HTTP/1.1\r\nHost: polka\r\nContent-Type: application/json\r\n"
local banks, accounts, left, head, sole

function init(arguments)
   math.randomseed(tonumber(arguments[1]))
   banks, accounts, left = tonumber(arguments[2]), tonumber(arguments[3]), tonumber(arguments[5])
   if left == 0 then
      left = math.huge
   end
   head = HEAD .. "Authorization: Bearer " .. arguments[4] .. "\r\n"
   if arguments[6] == "1" then
      count_statuses()
   end
   sole = tonumber(arguments[8])
   local rest = tonumber(arguments[7])
   if rest > 0 then
      function delay()
         return math.random(0, 2 * rest)
      end
   end
end

local BODY = '{"sender":{"bank":"bank%d","account":"ACC%d"},"receiver":{"bank":"bank%d","account":"ACC%d"},'
   .. '"amount":%d,"currency":"USD"}'

function request()
   if left == 0 then
      io.write("enough\n") -- whoever started wrk ends it: by itself it sleeps until its time is up
      io.flush()
      wrk.thread:stop()
   end
   left = left - 1
   local random = math.random
   local sender, step = sole > 0 and sole or random(banks), random(banks - 1)
   local receiver = (sender + step - 1) % banks + 1
   local body = string.format(BODY, sender, random(accounts), receiver, random(accounts), random(1000000))
   return head .. "Idempotency-Key: " .. key() .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end
