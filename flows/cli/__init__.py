"""The publisher's commands: thin fronts of the flows."""
