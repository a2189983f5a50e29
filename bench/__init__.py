"""Measurements of Polka, as ratios within one run: `make bench` runs them and writes bench/RESULTS.md."""
