"""What goes on: polls, hints, and runs of the line over branches when something there may change."""
