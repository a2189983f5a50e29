"""Loads a Polka with random payments, with Locust; `locustfile.py` is the only file that imports it."""
