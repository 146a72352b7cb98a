# A Rails application in one file, but for its controllers: an editor at /orders/7.
require "rails"
require "action_controller/railtie"

$LOAD_PATH.unshift(File.expand_path("lib", __dir__)) # as `rails new` does

class Host < Rails::Application
  config.root = __dir__
  config.eager_load = true # as in production
  config.load_defaults 6.1
  config.autoload_paths << root.join("lib") # as config.autoload_lib does in newer versions:
  config.eager_load_paths << root.join("lib") # each file there must name what it defines
  config.secret_key_base = "the host's own" * 4
  config.hosts.clear
  config.logger = Logger.new($stdout)
  config.session_store :cookie_store, key: "_host_session"
end

Host.initialize!
Host.routes.draw do
  get "/sign-in/:id/:name", to: "orders#sign_in", constraints: { name: /.+/ }
  get "/sign-out", to: "orders#sign_out"
  get "/orders/:id", to: "orders#edit"
  get "/presence-token", to: "presence_tokens#show"
end
run Host
