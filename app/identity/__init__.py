"""Who is calling, for which tenant, and which records they may see."""
