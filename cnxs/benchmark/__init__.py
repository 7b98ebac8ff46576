"""Timings of what the program promises: steps, images, maps, its start, its history, and full-size models."""
