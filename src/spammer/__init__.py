"""Loads a Polka with random payments, with Locust. Locust starts at `locustfile.py`."""
