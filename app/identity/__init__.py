"""Who calls, for which tenant, and which records she may see."""
