# An application on Rack alone: an editor at /orders/7.
require "rack"
require_relative "presence_route"

User = Struct.new(:id, :name)
user_of = ->(env) { User.new(*env["rack.session"]["user"]) if env["rack.session"]["user"] }
page = File.read("order.html")

use Rack::Session::Cookie, secret: "the host's own" * 4

map("/presence-token") { run presence_token_route(&user_of) }

map "/sign-in" do
  run lambda { |env|
    _, id, name = Rack::Utils.unescape_path(env["PATH_INFO"]).split("/", 3)
    env["rack.session"]["user"] = [Integer(id), name]
    [302, { "location" => "/orders/1" }, []]
  }
end

map "/sign-out" do
  run lambda { |env|
    env["rack.session"].clear
    [200, { "content-type" => "text/plain" }, ["Signed out."]]
  }
end

map "/orders" do
  run lambda { |env|
    html = page.sub('id="7"', %(id="#{Integer(env["PATH_INFO"].delete("/"))}"))
    [200, { "content-type" => "text/html; charset=utf-8" }, [html]]
  }
end
