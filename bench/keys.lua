-- Makes an Idempotency-Key that no other payment has: a random UUID.

return function()
   local random = math.random
   return string.format(
      "%08x-%04x-4%03x-8%03x-%06x%06x",
      random(0, 0x7fffffff), random(0, 0xffff), random(0, 0xfff), random(0, 0xfff),
      random(0, 0xffffff), random(0, 0xffffff)
   )
end
