"""Image automation that writes back to Git: byte-exact, proved, explained."""

__version__ = "0.1.0"
