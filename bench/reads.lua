-- What wrk sends: the same GET again and again. Argument: an API key.

require("counted")

function init(arguments)
   wrk.headers["Authorization"] = "Bearer " .. arguments[1]
end
