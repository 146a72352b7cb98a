require_relative "presence_token"

# A Rack application for GET /presence-token. The block gives the user of a request, or nil.
def presence_token_route
  lambda do |env|
    headers = { "content-type" => "text/plain", "cache-control" => "no-store" }
    user = yield env
    next [401, headers, ["Sign in first."]] unless user

    [200, headers, [PresenceToken.sign(user.id, user.name, "1")]]
  end
end
