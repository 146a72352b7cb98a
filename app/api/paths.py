"""Where the presence calls lie."""

API_PREFIX = "/api/v1/presence"
RECORD_PREFIX = f"{API_PREFIX}/<record_type>/<record_id>"  # of calls about one record
