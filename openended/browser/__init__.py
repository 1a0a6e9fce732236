"""The archive browser: what was invented, why it was accepted, and whether it is still remembered. It only reads."""
