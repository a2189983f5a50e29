-- What wrk sends: requests of 1,000 payments of one bank, each with an Idempotency-Key of its own. Arguments: a seed, the
-- banks, the accounts of each bank, an API key, the number of the bank that sends, and how many payments a request has.

local count_statuses = require("counted")
local key = require("keys")

local BODIES = 4
local HEAD = "POST /transactions HTTP/1.1\r\nHost: polka\r\nContent-Type: application/json\r\n"
local PAYMENT = '{"sender":{"bank":"bank%d","account":"ACC%d"},"receiver":{"bank":"bank%d","account":"ACC%d"},'
   .. '"amount":%d,"currency":"USD"}'
local rests, head, last = {}, nil, 0

local function body(banks, accounts, sender, payments)
   local random = math.random
   local made = {}
   for number = 1, payments do
      local receiver = (sender + random(banks - 1) - 1) % banks + 1
      made[number] = string.format(PAYMENT, sender, random(accounts), receiver, random(accounts), random(1000000))
   end
   return "[" .. table.concat(made, ",") .. "]"
end

function init(arguments)
   math.randomseed(tonumber(arguments[1]))
   local banks, accounts, sender = tonumber(arguments[2]), tonumber(arguments[3]), tonumber(arguments[5])
   head = HEAD .. "Authorization: Bearer " .. arguments[4] .. "\r\nIdempotency-Key: "
   for number = 1, BODIES do
      local made = body(banks, accounts, sender, tonumber(arguments[6]))
      rests[number] = "\r\nContent-Length: " .. #made .. "\r\n\r\n" .. made
   end
   count_statuses()
end

function request()
   last = last % BODIES + 1
   return head .. key() .. rests[last]
end
