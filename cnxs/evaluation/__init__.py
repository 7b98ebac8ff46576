"""Measurements on the miniature: how well controls are followed, where they act, and without delay."""
