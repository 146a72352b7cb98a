require "presence_token" # lib/presence_token.rb

# In config/routes.rb: get "/presence-token", to: "presence_tokens#show"
class PresenceTokensController < ApplicationController
  def show
    response.headers["Cache-Control"] = "no-store"
    return render plain: "Sign in first.", status: :unauthorized unless current_user

    render plain: PresenceToken.sign(current_user.id, current_user.name, "1")
  end
end
