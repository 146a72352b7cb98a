"""Saves that know whom they would hit: what is common to every kind of model. No Flask, no database."""
