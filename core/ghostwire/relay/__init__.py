"""The relay program: a front door, a plugin that relays behind it, and a control session that says for whom."""
