require "json"
require "openssl"

module PresenceToken
  # A token of five minutes for this user.
  def self.sign(user_id, name, tenant, key: ENV.fetch("PRESENCE_JWT_KEY"))
    claims = { sub: user_id, name: name.encode("UTF-8").scrub, tenant: tenant, exp: Time.now.to_i + 300 }
    encode = ->(bytes) { [bytes].pack("m0").tr("+/", "-_").delete("=") }
    signed = [{ alg: "HS256", typ: "JWT" }, claims].map { |part| encode.(JSON.generate(part)) }.join(".")
    "#{signed}.#{encode.(OpenSSL::HMAC.digest("SHA256", key, signed))}"
  end
end
