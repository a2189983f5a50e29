"""Loads a Polka with random payments, with Locust, which starts at `locustfile.py`."""
