"""REDIS_URL to a client: single, Sentinel, Cluster or embedded."""
