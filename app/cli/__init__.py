"""The commands: `record-presence`, and `token` and `presence` for `flask` as well."""
