"""Objectives: one file, one final class, one config each."""
