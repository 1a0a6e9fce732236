"""Auditable open-ended training: tasks are invented, learned and accepted only by test."""
