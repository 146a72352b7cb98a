"""Safe writes for other frameworks than Flask. Each needs its framework, and nothing of Flask."""
