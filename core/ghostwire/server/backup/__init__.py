"""Backups: one portable file of everything that a server keeps, written while it runs, restored while none does."""
