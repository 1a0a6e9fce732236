"""The procedural Brax task space. It knows nothing of learning and never imports ``openended``."""
